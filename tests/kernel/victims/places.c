// Burns CPU time at a place that is hard to come back from, or blocks: by its first word.
#include <alloca.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define MS 1000000L

static volatile unsigned sum;

static __attribute__((noinline)) void burn(unsigned turns)
{
	for (unsigned i = 0; i < turns; i++)
		sum = sum * 31 + i;
}

/* --- hard to come back from */

static void handler(int number)
{
	burn(2000000);
	sum += number;
}

static void in_handler(void)
{
	struct itimerval soon = { .it_interval = { 0, 1000 }, .it_value = { 0, 1000 } };

	signal(SIGALRM, handler);
	setitimer(ITIMER_REAL, &soon, NULL);
	for (;;)
		sum++;
}

static void in_vdso(void)
{
	struct timespec now;

	for (;;)
		clock_gettime(CLOCK_MONOTONIC, &now);
}

static void through_plt(void)
{
	for (;;) {
		long n = sum;

		for (int i = 0; i < 1000; i++) /* a store for each would take most of the time */
			n = labs(n);
		sum += n;
	}
}

static __attribute__((noinline)) void deeper(unsigned depth)
{
	if (depth)
		deeper(depth - 1);
	while (!depth)
		burn(1000);
	sum++;
}

static void too_deep(void)
{
	deeper(1000);
}

static void not_too_deep(void)
{
	deeper(300);
}

/* Its frame begins wherever the stack is aligned: found again through a saved register. */
static __attribute__((noinline)) void aligned(char *room, unsigned bytes)
{
	_Alignas(64) volatile char line[64];
	char *more = alloca(bytes);

	more[0] = more[bytes - 1] = 1;
	line[bytes % 64] = more[0] + room[0];
	burn(20000);
	sum += line[0] + more[bytes - 1];
}

static void in_aligned(void)
{
	char room[32] = "";

	for (unsigned i = 1;; i++)
		aligned(room, 1 + i % 5000);
}

/* --- blocked: about 60 % in a(), 30 % in b(), 10 % in c(), as late as timers are */

static __attribute__((noinline)) void a(void)
{
	struct timespec time = { 0, 12 * MS };

	nanosleep(&time, NULL);
	sum++;
}

static __attribute__((noinline)) void b(int timer)
{
	struct itimerspec once = { .it_value = { 0, 6 * MS } };
	long came;

	timerfd_settime(timer, 0, &once, NULL);
	sum += read(timer, &came, sizeof(came));
}

static __attribute__((noinline)) void c(pthread_mutex_t *lock)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += 2 * MS;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	sum += pthread_mutex_timedlock(lock, &until);
}

static long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Writes how long each of them took in all into the file that WAITED names: ns of a, b, c. */
static void blocked(void)
{
	pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	int timer = timerfd_create(CLOCK_MONOTONIC, 0), file = open(getenv("WAITED"), O_WRONLY);
	long waited[3] = { 0 }, at[4];

	pthread_mutex_lock(&lock);
	for (;;) {
		at[0] = now_ns();
		a();
		at[1] = now_ns();
		b(timer);
		at[2] = now_ns();
		c(&lock);
		at[3] = now_ns();
		for (int i = 0; i < 3; i++)
			waited[i] += at[i + 1] - at[i];
		if (pwrite(file, waited, sizeof(waited), 0) != sizeof(waited))
			exit(1);
	}
}

static const struct {
	const char *name;
	void (*run)(void);
} places[] = {
	{ "in_handler", in_handler }, { "in_vdso", in_vdso },	  { "through_plt", through_plt },
	{ "too_deep", too_deep },     { "not_too_deep", not_too_deep }, { "in_aligned", in_aligned },
	{ "blocked", blocked },
};

int main(int count, char **words)
{
	FILE *comm = fopen("/proc/self/comm", "w");

	fputs(words[count - 1], comm);
	fclose(comm);
	puts("there");
	fflush(stdout);
	for (unsigned i = 0; i < sizeof(places) / sizeof(*places); i++)
		if (!strcmp(words[1], places[i].name))
			places[i].run();
	return 1;
}

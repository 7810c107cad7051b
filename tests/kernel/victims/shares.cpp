// Burns CPU time, 60 % in a(), 30 % in b(), 10 % in c(). Goes on until killed.
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>

namespace tenant {

volatile unsigned sum;

[[gnu::noinline]] void burn(unsigned turns) {
	for (unsigned i = 0; i < turns; i++)
		sum = sum * 31 + i;
}

template <typename T> [[gnu::noinline]] void a(T turns) {
	burn(turns);
	sum = sum + 1; // no tail call
}

struct Burning {
	virtual ~Burning() = default;
	virtual void operator()(unsigned turns) = 0;
};

struct B : Burning {
	[[gnu::noinline]] void operator()(unsigned turns) override {
		burn(turns);
		sum = sum + 1;
	}
};

} // namespace tenant

int main(int, char **words) {
	std::ofstream("/proc/self/comm") << words[1];
	std::unique_ptr<tenant::Burning> b = std::make_unique<tenant::B>();
	auto c = [](const std::string &turns) __attribute__((noinline)) {
		tenant::burn(std::stoul(turns));
		tenant::sum = tenant::sum + 1;
	};
	std::puts("burning");
	std::fflush(stdout);
	for (;;) {
		tenant::a<unsigned>(6000000);
		(*b)(3000000);
		c("1000000");
	}
}

// Burns CPU time, 60 % in a(), 30 % in b(), 10 % in c(). Goes on until killed.
import java.nio.file.Files;
import java.nio.file.Path;

class Shares {
    static int sum;

    static void burn(int turns) {
        for (int i = 0; i < turns; i++) sum = sum * 31 + i;
    }

    static void a() { burn(60_000); }
    static void b() { burn(30_000); }
    static class Inner {
        void c() { burn(10_000); }
    }

    public static void main(String[] words) throws Exception {
        Files.writeString(Path.of("/proc/self/comm"), words[0]);
        Inner inner = new Inner();
        System.out.println("burning");
        while (true) {
            a();
            b();
            inner.c();
        }
    }
}

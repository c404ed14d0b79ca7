#include "base/bug.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void bug_at(const char *file, int line, const char *format, ...)
{
    char text[512];
    va_list args;
    int n = snprintf(text, sizeof(text), "smtpguard: bug at %s:%d: ", file, line);

    va_start(args, format);
    vsnprintf(text + n, sizeof(text) - (size_t)n, format, args);
    va_end(args);
    fprintf(stderr, "%s\n", text);
    abort();
}

void out_of_memory(void)
{
    static const char text[] = "smtpguard: out of memory\n";

    (void)!write(STDERR_FILENO, text, sizeof(text) - 1);
    _exit(1);
}

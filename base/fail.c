#include "base/fail.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int fail_set(struct fail *fail, const char *format, ...)
{
    va_list args;

    if (fail == NULL)
        return -1;
    va_start(args, format);
    vsnprintf(fail->text, sizeof(fail->text), format, args);
    va_end(args);
    return -1;
}

int fail_errno(struct fail *fail, const char *format, ...)
{
    int error = errno;
    va_list args;
    int n;

    if (fail == NULL)
        return -1;
    va_start(args, format);
    n = vsnprintf(fail->text, sizeof(fail->text), format, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof(fail->text))
        snprintf(fail->text + n, sizeof(fail->text) - (size_t)n, ": %s", strerror(error));
    return -1;
}

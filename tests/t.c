#include "tests/t.h"

#include <stdio.h>
#include <unistd.h>

static const char *case_name = "", *case_rfc = "";

void t_case(const char *name, const char *rfc)
{
    case_name = name;
    case_rfc = rfc != NULL ? rfc : "";
}

void t_fail_at(const char *file, int line, const char *format, ...)
{
    char text[4096];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    print_error("%s:%d: %s%s%s%s: %s\n", file, line, case_name, *case_rfc ? " (RFC " : "", case_rfc,
                *case_rfc ? ")" : "", text);
    _fail(file, line);
    abort();
}

void t_true_at(int condition, const char *text, const char *file, int line)
{
    if (!condition)
        t_fail_at(file, line, "not true: %s", text);
}

void t_same_int_at(long long got, long long want, const char *text, const char *file, int line)
{
    if (got != want)
        t_fail_at(file, line, "%s is %lld, not %lld", text, got, want);
}

void t_same_str_at(struct str got, struct str want, const char *text, const char *file, int line)
{
    if (!str_eq(got, want))
        t_fail_at(file, line, "%s is \"%.*s\", not \"%.*s\"", text, STR_ARG(got), STR_ARG(want));
}

const char *t_conformance(void)
{
    const char *folder = getenv("SMTPGUARD_CONFORMANCE");

    if (folder == NULL || *folder == '\0')
        folder = "../shared/conformance";
    return access(folder, R_OK) == 0 ? folder : NULL;
}

struct str t_read_file(struct arena *mem, const char *path)
{
    FILE *file = fopen(path, "rb");
    struct str text = {0};
    long size;

    if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) < 0)
        t_fail("cannot read %s", path);
    rewind(file);
    text.p = arena_alloc(mem, (size_t)size + 1);
    text.n = fread((char *)text.p, 1, (size_t)size, file);
    fclose(file);
    return text;
}

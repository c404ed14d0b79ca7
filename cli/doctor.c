#include "cli/doctor.h"

#include "base/json.h"
#include "cli/lookup_options.h"

#include <stdarg.h>
#include <stdio.h>

enum { ANSWER_BYTES_MAX = 1024 * 1024, FINDING_MAX = 512 };

static const char *const level_names[] = {"OK", "WARN", "FAIL"};

void doctor_add(struct doctor *doctor, enum doctor_level level, const char *part, const char *advice,
                const char *finding, ...)
{
    struct doctor_finding *f = ARENA_NEW(doctor->lookup.mem, struct doctor_finding);
    char text[FINDING_MAX];
    va_list args;

    va_start(args, finding);
    vsnprintf(text, sizeof(text), finding, args);
    va_end(args);
    for (char *c = text; *c != '\0'; c++)
        if (*c < ' ' || *c > '~') /* names and replies come from outside */
            *c = '?';
    *f = (struct doctor_finding){.level = level,
                                 .part = part,
                                 .finding = str_dup(doctor->lookup.mem, str_of(text)),
                                 .advice = level == DOCTOR_OK ? NULL : advice};
    *doctor->last = f;
    doctor->last = &f->next;
}

static void look(struct doctor *doctor)
{
    doctor_resolver(doctor);
    doctor_names(doctor);
    doctor_lists(doctor);
    doctor_tls(doctor);
    doctor_store(doctor);
    doctor_spool(doctor);
    doctor_backends(doctor);
    doctor_reports(doctor);
}

static void print_text(const struct doctor *doctor)
{
    for (const struct doctor_finding *f = doctor->first; f != NULL; f = f->next) {
        printf("%-5s %-9s %s\n", level_names[f->level], f->part, f->finding);
        if (f->advice != NULL)
            printf("      %9s -> %s\n", "", f->advice);
    }
}

static void print_json(const struct doctor *doctor, bool well)
{
    struct buf out;
    struct json j;

    buf_init(&out, ANSWER_BYTES_MAX);
    json_init(&j, &out);
    json_object(&j);
    json_put_z(&j, "result", well ? "well" : "sick");
    json_key(&j, "checks");
    json_array(&j);
    for (const struct doctor_finding *f = doctor->first; f != NULL; f = f->next) {
        json_object(&j);
        json_put_z(&j, "level", level_names[f->level]);
        json_put_z(&j, "part", f->part);
        json_put_z(&j, "finding", f->finding);
        json_put_z(&j, "advice", f->advice);
        json_object_end(&j);
    }
    json_array_end(&j);
    json_object_end(&j);
    puts(buf_z(&out));
    buf_fini(&out);
}

/* A warning is no illness. */
static bool is_well(const struct doctor *doctor)
{
    for (const struct doctor_finding *f = doctor->first; f != NULL; f = f->next)
        if (f->level == DOCTOR_FAIL)
            return false;
    return true;
}

static int read_options(int argc, char **argv, struct lookup_options *o)
{
    int code = lookup_options_read("doctor", argc, argv, NULL, NULL, NULL, o);

    if (code != CLI_FINE)
        return code;
    if (optind < argc)
        return cli_usage("doctor", "\"%s\" is one word too many", argv[optind]);
    return CLI_FINE;
}

int cli_doctor(int argc, char **argv)
{
    struct lookup_options o = {.config_file = CLI_CONFIG_FILE};
    struct doctor doctor = {.now_unix = clock_unix(clock_system())};
    int code = read_options(argc, argv, &o);
    bool well;

    if (code == CLI_FINE)
        code = cli_lookup_open(&doctor.lookup, o.config_file, o.dns);
    if (code != CLI_FINE)
        return code;
    doctor.last = &doctor.first;
    look(&doctor);
    well = is_well(&doctor);
    if (o.json)
        print_json(&doctor, well);
    else
        print_text(&doctor);
    cli_lookup_close(&doctor.lookup);
    return well ? CLI_FINE : CLI_NO;
}

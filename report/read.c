#include "report/read.h"

#include "base/bug.h"

#include <expat.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { NAME_MAX_OCTETS = 40, PATH_MAX_OCTETS = READ_DEPTH_MAX * (NAME_MAX_OCTETS + 1) };

/* What belongs where, by the path below the root. */
static const struct place {
    const char *path;
    size_t offset;
} head_places[] =
    {
        {"/report_metadata/org_name", offsetof(struct read_head, org_name)},
        {"/report_metadata/email", offsetof(struct read_head, email)},
        {"/report_metadata/report_id", offsetof(struct read_head, report_id)},
        {"/report_metadata/date_range/begin", offsetof(struct read_head, begin)},
        {"/report_metadata/date_range/end", offsetof(struct read_head, end)},
        {"/report_metadata/error", offsetof(struct read_head, error)},
        {"/policy_published/domain", offsetof(struct read_head, domain)},
        {"/policy_published/p", offsetof(struct read_head, p)},
        {"/policy_published/sp", offsetof(struct read_head, sp)},
        {"/policy_published/np", offsetof(struct read_head, np)},
        {"/policy_published/adkim", offsetof(struct read_head, adkim)},
        {"/policy_published/aspf", offsetof(struct read_head, aspf)},
        {"/policy_published/pct", offsetof(struct read_head, pct)},
        {"/policy_published/fo", offsetof(struct read_head, fo)},
        {"/policy_published/testing", offsetof(struct read_head, testing)},
},
  record_places[] = {
      {"/record/row/source_ip", offsetof(struct read_record, source_ip)},
      {"/record/row/count", offsetof(struct read_record, count)},
      {"/record/row/policy_evaluated/disposition", offsetof(struct read_record, disposition)},
      {"/record/row/policy_evaluated/dkim", offsetof(struct read_record, dkim)},
      {"/record/row/policy_evaluated/spf", offsetof(struct read_record, spf)},
      {"/record/row/policy_evaluated/reason/type", offsetof(struct read_record, reason)},
      {"/record/identifiers/header_from", offsetof(struct read_record, header_from)},
      {"/record/identifiers/envelope_from", offsetof(struct read_record, envelope_from)},
      {"/record/identifiers/envelope_to", offsetof(struct read_record, envelope_to)},
};

struct reading {
    XML_Parser parser;
    char path[PATH_MAX_OCTETS + 1]; /* without the root */
    unsigned depth;
    char text[READ_TEXT_MAX + 1];
    size_t text_n;
    struct read_head *head;
    struct read_record record;
    char domain[READ_TEXT_MAX + 1], selector[READ_TEXT_MAX + 1], result[READ_TEXT_MAX + 1];
    bool has_root;
    const char *stopped; /* why the reading was ended, or NULL */
    read_record_fn *each;
    void *arg;
};

/* Expat writes a namespace and a "|" in front. */
static const char *local_name(const char *name)
{
    const char *bar = strrchr(name, '|');

    return bar != NULL ? bar + 1 : name;
}

static void stop(struct reading *r, const char *why)
{
    r->stopped = why;
    XML_StopParser(r->parser, XML_FALSE);
}

static void on_start(void *arg, const char *name, const char **attributes)
{
    struct reading *r = arg;

    (void)attributes;
    r->text_n = 0;
    name = local_name(name);
    r->depth++;
    if (r->depth > READ_DEPTH_END)
        stop(r, "its elements are nested too deeply");
    if (r->depth == 1)
        r->has_root = strcmp(name, "feedback") == 0;
    else if (r->depth <= READ_DEPTH_MAX)
        snprintf(r->path + strlen(r->path), NAME_MAX_OCTETS + 2, "/%.*s", NAME_MAX_OCTETS, name);
    if (r->depth == 2 && strcmp(r->path, "/record") == 0)
        memset(&r->record, 0, sizeof(r->record));
}

static void on_text(void *arg, const char *text, int n)
{
    struct reading *r = arg;

    for (int i = 0; i < n && r->text_n < READ_TEXT_MAX; i++)
        if (r->text_n > 0 || (unsigned char)text[i] > ' ')
            r->text[r->text_n++] = text[i];
}

static void put(const struct place *places, size_t count, const char *path, void *into, const char *text)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(path, places[i].path) == 0)
            snprintf((char *)into + places[i].offset, READ_TEXT_MAX + 1, "%s", text);
}

/* "dkim=pass (example.org s1)" */
static void end_result(struct reading *r, const char *method)
{
    char *results = r->record.results;
    size_t n = strlen(results);

    snprintf(results + n, READ_RESULTS_MAX + 1 - n, "%s%s=%s (%s%s%s)", n > 0 ? " " : "", method, r->result,
             r->domain, r->selector[0] != '\0' ? " " : "", r->selector);
    r->domain[0] = r->selector[0] = r->result[0] = '\0';
}

static void take_result(struct reading *r, const char *what)
{
    char *into = strcmp(what, "domain") == 0     ? r->domain
                 : strcmp(what, "selector") == 0 ? r->selector
                 : strcmp(what, "result") == 0   ? r->result
                                                 : NULL;

    if (into != NULL)
        snprintf(into, READ_TEXT_MAX + 1, "%s", r->text);
}

static void end_element(struct reading *r)
{
    static const char results[] = "/record/auth_results/";
    const char *below = strncmp(r->path, results, strlen(results)) == 0 ? r->path + strlen(results) : NULL;

    put(head_places, COUNT(head_places), r->path, r->head, r->text);
    put(record_places, COUNT(record_places), r->path, &r->record, r->text);
    if (below != NULL && (strcmp(below, "dkim") == 0 || strcmp(below, "spf") == 0))
        end_result(r, below);
    else if (below != NULL && strchr(below, '/') != NULL)
        take_result(r, strchr(below, '/') + 1);
    if (strcmp(r->path, "/record") == 0)
        r->each(r->head, &r->record, r->arg);
}

static void on_end(void *arg, const char *name)
{
    struct reading *r = arg;

    (void)name;
    while (r->text_n > 0 && (unsigned char)r->text[r->text_n - 1] <= ' ')
        r->text_n--;
    r->text[r->text_n] = '\0';
    if (r->has_root && r->depth > 1 && r->depth <= READ_DEPTH_MAX)
        end_element(r);
    if (r->depth > 1 && r->depth <= READ_DEPTH_MAX)
        *strrchr(r->path, '/') = '\0';
    r->depth--;
    r->text_n = 0;
}

static void on_doctype(void *arg, const char *name, const char *system, const char *public_id, int has_subset)
{
    struct reading *r = arg;

    (void)name, (void)system, (void)public_id, (void)has_subset;
    stop(r, "it has a document type declaration, which no report needs");
}

static int judge(const struct reading *r, bool well, struct fail *fail)
{
    if (r->stopped != NULL)
        return fail_set(fail, "%s", r->stopped);
    if (!well)
        return fail_set(fail, "line %lu: %s", (unsigned long)XML_GetCurrentLineNumber(r->parser),
                        XML_ErrorString(XML_GetErrorCode(r->parser)));
    return r->has_root ? 0 : fail_set(fail, "it is XML, but no DMARC report: there is no <feedback>");
}

int read_report(struct str xml, struct read_head *head_out, read_record_fn *each, void *arg,
                struct fail *fail)
{
    struct reading r = {.parser = XML_ParserCreateNS(NULL, '|'), .head = head_out, .each = each, .arg = arg};
    bool well;
    int outcome;

    if (r.parser == NULL)
        out_of_memory();
    if (xml.n > INT32_MAX) {
        XML_ParserFree(r.parser);
        return fail_set(fail, "it is too big");
    }
    memset(head_out, 0, sizeof(*head_out));
    XML_SetUserData(r.parser, &r);
    XML_SetElementHandler(r.parser, on_start, on_end);
    XML_SetCharacterDataHandler(r.parser, on_text);
    XML_SetStartDoctypeDeclHandler(r.parser, on_doctype);
    well = XML_Parse(r.parser, xml.p, (int)xml.n, 1) == XML_STATUS_OK;
    outcome = judge(&r, well, fail);
    XML_ParserFree(r.parser);
    return outcome;
}

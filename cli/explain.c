#include <jansson.h>

#include "cli/explain.h"
#include "cli/store_open.h"

#include <stdio.h>
#include <string.h>

/* Why was this answered so? The newest decisions about an id, an address or a client, in words. */

enum {
    LIMIT_USUAL = 3,
    LIMIT_MOST = 1000,
    SHOWN_BYTES_MAX = 16 * 1024 * 1024,
    ANSWERS_MAX = DECISION_RECIPIENTS_MAX + 1
};

struct explaining {
    struct cli_records records;
    json_t *settings; /* all that hold now, with their origin */
    struct buf out;
    struct json json;
    uint64_t count;
};

/* ---- answers ---- */

struct answer {
    const struct decision_recipient *recipient; /* NULL: to the message, or before it */
    const struct decision_outcome *outcome;
};

/* In their order. Returns how many. */
static size_t answers_of(const struct decision *d, struct answer answers[ANSWERS_MAX])
{
    size_t count = 0;

    for (size_t i = 0; i < d->recipients_count && count < ANSWERS_MAX - 1; i++)
        if (d->recipients[i].outcome.code != 0)
            answers[count++] = (struct answer){&d->recipients[i], &d->recipients[i].outcome};
    if (d->outcome.code != 0)
        answers[count++] = (struct answer){NULL, &d->outcome};
    return count;
}

/* The first answer of its check: a hundred recipients with one reason get one explanation. */
static bool is_first(const struct answer *answers, size_t i)
{
    const char *check = answers[i].outcome->check;

    for (size_t j = 0; check != NULL && j < i; j++)
        if (answers[j].outcome->check != NULL && strcmp(answers[j].outcome->check, check) == 0)
            return false;
    return check != NULL;
}

static const char *what_of(const struct decision *d)
{
    return strcmp(d->at, "message") == 0   ? "the message"
           : strcmp(d->at, "connect") == 0 ? "the greeting"
           : strcmp(d->at, "limits") == 0  ? "the connection"
                                           : "HELO";
}

/* ---- settings ---- */

static json_t *load_settings(const char *file)
{
    struct buf out, faults;
    json_t *root = NULL;

    buf_init(&out, SHOWN_BYTES_MAX);
    buf_init(&faults, SHOWN_BYTES_MAX);
    if (config_show(file, true, &out, &faults) == 0)
        root = json_loadb(out.p, out.n, 0, NULL);
    buf_fini(&out);
    buf_fini(&faults);
    return root;
}

/* As written in JSON, a word without its quotes; from mem. */
static const char *value_of(struct arena *mem, const json_t *settings, const char *key,
                            const char **origin_out)
{
    const json_t *entry = json_object_get(settings, key), *value = json_object_get(entry, "value");
    const char *origin = json_string_value(json_object_get(entry, "origin")), *shown;
    char *text;

    *origin_out = origin != NULL ? str_dup(mem, str_of(origin)) : "default";
    if (json_is_string(value))
        return str_dup(mem, str_of(json_string_value(value)));
    text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    shown = str_dup(mem, str_of(text));
    free(text);
    return shown;
}

/* ---- in words ---- */

static void add_line(struct buf *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add_line(struct buf *out, const char *format, ...)
{
    size_t begin = out->n;
    va_list args;

    va_start(args, format);
    buf_vfmt(out, format, args);
    va_end(args);
    cli_explain_end_line(out, begin);
}

static void add_title(struct buf *out, struct arena *mem, const struct decision *d)
{
    const struct decision_outcome *outcome = cli_record_outcome(d);
    const char *answer = "";

    if (outcome != NULL)
        answer = str_fmt(mem, ", %d %s%s%s", outcome->code, outcome->enhanced,
                         outcome->check != NULL ? ", decided by: " : "",
                         outcome->check != NULL ? outcome->check : "");
    add_line(out, "%s  %s  %s%s", *d->id != '\0' ? d->id : "-", cli_time_text(mem, d->time_unix),
             cli_record_action(d), answer);
}

static void add_head(struct buf *out, const struct decision *d)
{
    struct arena *mem = arena_new(0);

    add_title(out, mem, d);
    buf_add_char(out, '\n');
    add_line(out, "Client      %s, on the listener %s%s%s", ip_text(mem, &d->facts.session.client),
             d->listener, d->tls != NULL ? ", " : "", d->tls != NULL ? d->tls : "");
    if (d->from != NULL)
        add_line(out, "From        <%s>", d->from);
    for (size_t i = 0; i < d->recipients_count; i++)
        add_line(out, "To          <%s>", d->recipients[i].to);
    if (d->recipients_left_out > 0)
        add_line(out, "            and %lld more", (long long)d->recipients_left_out);
    if (d->message_id != NULL)
        add_line(out, "Message-ID  %s", d->message_id);
    arena_free(&mem);
}

static void add_keys(struct buf *out, const struct explaining *e, const struct decision *d,
                     const struct decision_outcome *outcome)
{
    struct cli_explain_keys keys = cli_explain_keys(d, outcome);
    struct arena *mem = arena_new(0);

    for (size_t i = 0; keys.keys[i] != NULL; i++) {
        const char *origin, *value = value_of(mem, e->settings, keys.keys[i], &origin);

        add_line(out, "        %s is now %s (%s)", keys.keys[i], value, origin);
    }
    arena_free(&mem);
}

static void add_observed(struct buf *out, const struct decision_outcome *outcome)
{
    for (size_t i = 0; i < outcome->observed_count; i++)
        add_line(out, "        %s would have refused it, and only observes", outcome->observed[i]);
}

static void add_answers(struct buf *out, const struct explaining *e, const struct decision *d,
                        const struct answer *answers, size_t count)
{
    buf_add_z(out, "\nWhat was answered\n");
    for (size_t i = 0; i < count; i++) {
        const struct decision_outcome *o = answers[i].outcome;

        if (answers[i].recipient != NULL)
            add_line(out, "    to <%s>: %d %s %s", answers[i].recipient->to, o->code, o->enhanced, o->text);
        else
            add_line(out, "    to %s: %d %s %s", what_of(d), o->code, o->enhanced, o->text);
        add_observed(out, o);
        if (is_first(answers, i))
            add_keys(out, e, d, o);
    }
    if (d->end != NULL)
        add_line(out, "    then the session ended: %s", d->end);
}

static void add_advice(struct buf *out, const struct decision *d, const struct answer *answers, size_t count)
{
    size_t begin;

    buf_add_z(out, "\nWhat the sender can do\n");
    begin = out->n;
    for (size_t i = 0; i < count; i++)
        if (is_first(answers, i))
            cli_explain_advice(out, d, answers[i].recipient, answers[i].outcome);
    if (out->n == begin)
        buf_add_z(
            out,
            cli_record_outcome(d) == NULL
                ? "    The client went before there was anything to decide. Its own log says why.\n"
                : "    Nothing: it was taken. What became of it then, the mail server behind us knows.\n");
}

static void tell_text(struct explaining *e, const struct decision *d)
{
    struct answer answers[ANSWERS_MAX];
    size_t count = answers_of(d, answers);
    struct str rest, line;

    buf_clear(&e->out);
    if (e->count > 1)
        buf_add_z(&e->out, "\n----\n\n");
    add_head(&e->out, d);
    buf_add_z(&e->out, "\nWhat was seen\n");
    cli_explain_seen(&e->out, d);
    add_answers(&e->out, e, d, answers, count);
    add_advice(&e->out, d, answers, count);
    for (rest = buf_str(&e->out); rest.n > 0;) {
        str_cut(rest, '\n', &line, &rest);
        cli_print(line);
        putchar('\n');
    }
}

/* ---- as JSON ---- */

/* The lines of a text, without the blanks before them. */
static void put_lines(struct json *json, const char *key, struct str text)
{
    struct str line;

    json_key(json, key);
    json_array(json);
    while (text.n > 0) {
        str_cut(text, '\n', &line, &text);
        json_str(json, str_trim(line));
    }
    json_array_end(json);
}

static void put_keys(struct json *json, const struct explaining *e, const struct decision *d,
                     const struct decision_outcome *outcome)
{
    struct cli_explain_keys keys = cli_explain_keys(d, outcome);
    struct arena *mem = arena_new(0);

    json_key(json, "settings");
    json_object(json);
    for (size_t i = 0; keys.keys[i] != NULL; i++) {
        const char *origin, *value = value_of(mem, e->settings, keys.keys[i], &origin);

        json_key(json, keys.keys[i]);
        json_object(json);
        json_put_z(json, "value", value);
        json_put_z(json, "origin", origin);
        json_object_end(json);
    }
    json_object_end(json);
    arena_free(&mem);
}

static void put_answer(struct json *json, const struct explaining *e, const struct decision *d,
                       const struct answer *answer)
{
    const struct decision_outcome *o = answer->outcome;
    struct buf advice;

    buf_init(&advice, EXPLAIN_BYTES_MAX);
    cli_explain_advice(&advice, d, answer->recipient, o);
    json_object(json);
    json_put_z(json, "to", answer->recipient != NULL ? answer->recipient->to : NULL);
    json_put_z(json, "action", action_name(o->action));
    json_put_int(json, "reply", o->code);
    json_put_z(json, "check", o->check);
    json_put_z(json, "text", o->text);
    put_keys(json, e, d, o);
    put_lines(json, "advice", buf_str(&advice));
    json_object_end(json);
    buf_fini(&advice);
}

static void tell_json(struct explaining *e, const struct decision *d, struct str line)
{
    struct answer answers[ANSWERS_MAX];
    size_t count = answers_of(d, answers);
    struct json *json = &e->json;
    struct buf seen;

    buf_init(&seen, EXPLAIN_BYTES_MAX);
    cli_explain_seen(&seen, d);
    json_object(json);
    json_key(json, "record");
    buf_add_str(&e->out, line);
    json->need_comma = true;
    put_lines(json, "seen", buf_str(&seen));
    json_key(json, "answers");
    json_array(json);
    for (size_t i = 0; i < count; i++)
        put_answer(json, e, d, &answers[i]);
    json_array_end(json);
    json_object_end(json);
    buf_fini(&seen);
    fwrite(e->out.p, 1, e->out.n, stdout); /* it goes out as it comes */
    buf_clear(&e->out);
}

/* ---- the verb ---- */

static bool on_record(const struct decision *decision, struct str line, void *arg)
{
    struct explaining *e = arg;

    e->count++;
    if (e->records.json)
        tell_json(e, decision, line);
    else
        tell_text(e, decision);
    return e->count < e->records.limit;
}

static int explain(struct explaining *e)
{
    int code;

    buf_init(&e->out, SHOWN_BYTES_MAX);
    json_init(&e->json, &e->out);
    if (e->records.json) {
        json_object(&e->json);
        json_key(&e->json, "decisions");
        json_array(&e->json);
    }
    code = cli_records_each(&e->records, RECORD_NEWEST_FIRST, on_record, e);
    if (e->records.json) {
        json_array_end(&e->json);
        json_object_end(&e->json);
        puts(buf_z(&e->out));
    }
    buf_fini(&e->out);
    if (code == CLI_FINE && e->count == 0) {
        fprintf(stderr, "smtpguard explain: nothing about this is on record%s\n",
                e->records.filter.address != NULL && e->records.lookup.config->log.privacy != LOG_PRIVACY_NONE
                    ? "; log.privacy hides addresses: ask for an id or a client"
                    : "");
        return CLI_NO;
    }
    return code;
}

/* "7MHMNZRXXS", or with ".1" behind it. */
static bool is_id(struct str word)
{
    struct str session, number;
    uint64_t n;

    str_cut(word, '.', &session, &number);
    for (size_t i = 0; i < session.n; i++)
        if (!ascii_is_alnum(session.p[i]))
            return false;
    return session.n == 10 && (session.n == word.n || str_to_u64(number, UINT32_MAX, &n));
}

/* An id, a client, or else an address. */
static bool take_word(struct cli_records *r, const char *word)
{
    struct str text = str_of(word);
    struct fail fail;

    if (is_id(text))
        r->filter.id = word;
    else if (net_parse(text, &r->filter.net, &fail) != 0)
        r->filter.address = word;
    return r->filter.address == NULL || str_has(text, '@') || str_eq_z(text, "<>");
}

int cli_explain(int argc, char **argv)
{
    static const struct option options[] = {{"json", no_argument, NULL, CLI_RECORDS_JSON},
                                            {"config", required_argument, NULL, 'c'},
                                            {"limit", required_argument, NULL, CLI_RECORDS_LIMIT},
                                            {0}};
    struct explaining e = {.records = {.verb = "explain", .limit = LIMIT_USUAL}};
    struct cli_records *r = &e.records;
    int code = cli_records_options(r, argc, argv, options, LIMIT_MOST, NULL);

    if (code != CLI_FINE)
        return code;
    if (optind + 1 != argc)
        return cli_usage(r->verb,
                         optind < argc ? "too many words" : "an id, an address or a client is missing");
    if (!take_word(r, argv[optind]))
        return cli_usage(
            r->verb,
            "\"%s\" is neither an id of the log, nor a mail address (@example.org for all of a domain), "
            "nor a client's address",
            argv[optind]);
    code = cli_records_open(r);
    if (code == CLI_FINE) {
        e.settings = load_settings(r->config_file != NULL ? r->config_file : CLI_CONFIG_FILE);
        code = explain(&e);
    }
    json_decref(e.settings);
    cli_records_close(r);
    return code;
}

/*
 * tests/dialogues_test.c - plays the scripted dialogues of tests/dialogues against smtp/server.h, without
 * sockets
 *
 * Each dialogue is a test. It runs with each group of client lines in one piece, byte by byte, and with the
 * whole of what the client says cut in two at every place: replies and events must be the same each time.
 * tests/dialogues/README tells the format.
 */
#include "smtp/server.h"

#include "base/bug.h"
#include "tests/t.h"

#include <dirent.h>
#include <stdio.h>

enum { LONG_DIALOGUE = 4096, CUTS_OF_A_LONG_ONE = 200, DIALOGUES_MAX = 1000 };

struct item {
    char kind; /* C bytes of the client, S reply, E event, A answer, B body, T handshake done, G greeting */
    struct str text;
    int line;
};

struct dialogue {
    const char *name, *file;
    struct smtp_server_settings settings;
    bool tls, tls_on, require_tls, whole_only;
    const char *auth;
    struct item *items;
    size_t count, room, bytes;
};

struct run {
    const struct dialogue *dialogue;
    struct arena *mem;
    struct smtp_server *server;
    struct buf out, body;
    size_t at; /* the item that is due */
    bool closed;
};

static struct arena *memory; /* of all dialogues */
static struct dialogue dialogues[DIALOGUES_MAX];
static size_t dialogues_count;

/* ---- reading the files ---- */

/* \r \n \t \0 \xNN, and \\ for itself. */
static struct str unescape(struct str text)
{
    char *out = arena_alloc(memory, text.n + 1);
    size_t n = 0;

    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];

        if (c != '\\' || i + 1 == text.n) {
            out[n++] = c;
            continue;
        }
        c = text.p[++i];
        if (c == 'x' && i + 2 < text.n) {
            out[n++] = (char)(ascii_hex(text.p[i + 1]) * 16 + ascii_hex(text.p[i + 2]));
            i += 2;
        } else {
            out[n++] = (char)(c == 'r' ? '\r' : c == 'n' ? '\n' : c == 't' ? '\t' : c == '0' ? '\0' : c);
        }
    }
    return str_make(out, n);
}

/* "1000 xyz": so many times, raw. */
static struct str repeat(struct str text)
{
    struct str count_text, unit;
    uint64_t count;
    char *out;

    str_cut(text, ' ', &count_text, &unit);
    if (!str_to_u64(count_text, 1000000, &count))
        t_fail("\"%.*s\" is not a count and a text", STR_ARG(text));
    unit = unescape(unit);
    out = arena_alloc(memory, unit.n * count + 1);
    for (uint64_t i = 0; i < count; i++)
        memcpy(out + i * unit.n, unit.p, unit.n);
    return str_make(out, unit.n * count);
}

static void add_item(struct dialogue *d, char kind, struct str text, int line)
{
    if (d->count == d->room) {
        size_t room = d->room > 0 ? d->room * 2 : 16;
        struct item *items = ARENA_ARRAY(memory, struct item, room);

        if (d->count > 0)
            memcpy(items, d->items, d->count * sizeof(*items));
        d->items = items;
        d->room = room;
    }
    d->items[d->count++] = (struct item){kind, text, line};
    d->bytes += kind == 'C' ? text.n : 0;
}

/* "100 250 2.0.0": the same reply so many times. */
static void add_replies(struct dialogue *d, struct str text, int line)
{
    struct str count_text;
    uint64_t count;

    str_cut(text, ' ', &count_text, &text);
    if (!str_to_u64(count_text, 1000, &count))
        t_fail("%s:%d: a count and a reply are wanted", d->file, line);
    while (count-- > 0)
        add_item(d, 'S', text, line);
}

static void add_setting(struct dialogue *d, struct str text, int line)
{
    struct str key, value;
    uint64_t n = 0;

    str_cut(text, ' ', &key, &value);
    str_to_u64(value, UINT64_MAX, &n);
    if (str_eq_z(key, "size"))
        d->settings.message_bytes_max = n;
    else if (str_eq_z(key, "recipients"))
        d->settings.recipients_max = (unsigned)n;
    else if (str_eq_z(key, "errors"))
        d->settings.errors_max = (unsigned)n;
    else if (str_eq_z(key, "line"))
        d->settings.line_bytes_max = n;
    else if (str_eq_z(key, "utf8"))
        d->settings.offer.smtputf8 = true;
    else if (str_eq_z(key, "dsn"))
        d->settings.offer.dsn = true;
    else if (str_eq_z(key, "chunking"))
        d->settings.offer.chunking = true;
    else if (str_eq_z(key, "no-8bit"))
        d->settings.offer.eightbitmime = false;
    else if (str_eq_z(key, "binary"))
        d->settings.offer.chunking = d->settings.offer.binarymime = true;
    else if (str_eq_z(key, "requiretls"))
        d->settings.offer.requiretls = true;
    else if (str_eq_z(key, "drop-bare"))
        d->settings.drops_bare_ends = true;
    else if (str_eq_z(key, "auth"))
        d->auth = str_dup(memory, value);
    else if (str_eq_z(key, "tls"))
        d->tls = true;
    else if (str_eq_z(key, "tls-on"))
        d->tls_on = true;
    else if (str_eq_z(key, "require-tls"))
        d->tls = d->require_tls = true;
    else if (str_eq_z(key, "whole-only"))
        d->whole_only = true;
    else
        t_fail("%s:%d: unknown setting", d->file, line);
}

static struct dialogue *begin_dialogue(const char *file, struct str name)
{
    struct dialogue *d = &dialogues[dialogues_count++];

    if (dialogues_count > DIALOGUES_MAX)
        t_fail("%s: more than %d dialogues", file, DIALOGUES_MAX);
    *d = (struct dialogue){
        .name = str_dup(memory, str_trim(name)),
        .file = file,
        .settings = {.hostname = "mx.example.net",
                     .message_bytes_max = 10000,
                     .recipients_max = 3,
                     .errors_max = 5,
                     .line_bytes_max = 1000,
                     .offer = {.size = true, .eightbitmime = true}},
    };
    return d;
}

static void add_line(struct dialogue *d, struct str line, int number)
{
    struct str kind, text;

    str_cut(line, ':', &kind, &text);
    if (text.n > 0 && text.p[0] == ' ')
        text = str_from(text, 1);
    if (str_eq_z(kind, "S*"))
        add_replies(d, text, number);
    else if (str_eq_z(kind, "C"))
        add_item(d, 'C', str_of(str_fmt(memory, "%.*s\r\n", STR_ARG(text))), number);
    else if (str_eq_z(kind, "C<"))
        add_item(d, 'C', unescape(text), number);
    else if (str_eq_z(kind, "C*"))
        add_item(d, 'C', repeat(text), number);
    else if (str_eq_z(kind, "S") || str_eq_z(kind, "E") || str_eq_z(kind, "T") || str_eq_z(kind, "G"))
        add_item(d, kind.p[0], text, number);
    else if (str_eq_z(kind, "A") || str_eq_z(kind, "B"))
        add_item(d, kind.p[0], unescape(text), number);
    else
        t_fail("%s:%d: what is \"%.*s\"?", d->file, number, STR_ARG(kind));
}

static void read_file(const char *path)
{
    struct str rest = t_read_file(memory, path), line;
    struct dialogue *d = NULL;

    for (int number = 1; rest.n > 0; number++) {
        str_cut(rest, '\n', &line, &rest);
        if (str_starts(line, STR("== ")))
            d = begin_dialogue(path, str_from(line, 3));
        else if (line.n == 0 || line.p[0] == '#')
            continue;
        else if (d == NULL)
            t_fail("%s:%d: a line before the first \"== name\"", path, number);
        else if (str_starts(line, STR("! ")))
            add_setting(d, str_from(line, 2), number);
        else
            add_line(d, line, number);
    }
}

static int is_script(const struct dirent *entry)
{
    return str_ends_same(str_of(entry->d_name), STR(".txt"));
}

static void read_all(const char *folder)
{
    struct dirent **entries;
    int count = scandir(folder, &entries, is_script, alphasort);

    if (count < 0) {
        fprintf(stderr, "cannot read %s\n", folder);
        exit(1);
    }
    for (int i = 0; i < count; i++) {
        read_file(str_fmt(memory, "%s/%s", folder, entries[i]->d_name));
        free(entries[i]);
    }
    free(entries);
}

/* ---- what is due ---- */

static const struct item *due(const struct run *run)
{
    static const struct item end = {'.', {"the end", 7}, 0};

    return run->at < run->dialogue->count ? &run->dialogue->items[run->at] : &end;
}

static _Noreturn void differs(const struct run *run, const char *got)
{
    const struct item *item = due(run);

    t_fail("%s:%d: got \"%s\" where \"%c: %.*s\" is due", run->dialogue->file, item->line, got, item->kind,
           (int)str_upto(item->text, 200).n, item->text.p);
}

/* The item may be shorter than what came. */
static void expect(struct run *run, char kind, const char *got)
{
    const struct item *item = due(run);

    if (item->kind != kind || !str_starts(str_of(got), str_trim(item->text)))
        differs(run, got);
    run->at++;
}

/* ---- replies ---- */

/* Takes one line of a reply and sees to its form (RFC 5321 4.2, 4.5.3.1.5). */
static struct str take_reply_line(struct run *run)
{
    struct str out = buf_str(&run->out), line;
    size_t end = str_find(out, '\n');

    line = str_upto(out, end);
    if (end == out.n || end < 4 || end + 1 > 512 || line.p[end - 1] != '\r')
        t_fail("\"%.*s\" is no reply line", STR_ARG(out));
    line.n--;
    for (size_t i = 0; i < line.n; i++)
        if (line.p[i] < ' ' || line.p[i] > '~' || (i < 3 && !ascii_is_digit(line.p[i])))
            t_fail("\"%.*s\" is no reply line", STR_ARG(line));
    if (line.p[3] != ' ' && line.p[3] != '-')
        t_fail("\"%.*s\" is no reply line", STR_ARG(line));
    line = str_copy(run->mem, line);
    buf_consume(&run->out, end + 1);
    return line;
}

/* The lines of a reply become one: "250 mx.example.net | PIPELINING | …". */
static void take_replies(struct run *run)
{
    while (run->out.n > 0) {
        struct str line = take_reply_line(run);
        const char *text = str_fmt(run->mem, "%.3s %.*s", line.p, STR_ARG(str_from(line, 4)));

        while (line.p[3] == '-') {
            line = take_reply_line(run);
            if (!str_starts(line, str_upto(str_of(text), 3)))
                t_fail("a reply of several codes: %s, then %.*s", text, STR_ARG(line));
            text = str_fmt(run->mem, "%s | %.*s", text, STR_ARG(str_from(line, 4)));
        }
        expect(run, 'S', text);
    }
}

/* ---- events ---- */

static const char *mail_text(struct run *run, const struct smtp_command *c)
{
    const char *tls = c->requiretls ? " REQUIRETLS" : "";
    const char *size = c->has_size ? str_fmt(run->mem, " SIZE=%llu", (unsigned long long)c->size) : "";

    return str_fmt(run->mem, "MAIL <%.*s>%s%s%s%s", STR_ARG(c->address.text), size, tls,
                   c->body == SMTP_BODY_8BITMIME     ? " 8BITMIME"
                   : c->body == SMTP_BODY_BINARYMIME ? " BINARYMIME"
                                                     : "",
                   c->smtputf8 ? " SMTPUTF8" : "");
}

static const char *event_text(struct run *run, const struct smtp_event *event)
{
    const struct smtp_command *c = event->command;

    switch (event->kind) {
    case SMTP_EV_HELO:
        return str_fmt(run->mem, "%s %.*s", smtp_verb_name(c->verb), STR_ARG(c->argument));
    case SMTP_EV_STARTTLS:
        return "STARTTLS";
    case SMTP_EV_MAIL:
        return mail_text(run, c);
    case SMTP_EV_RCPT:
        return str_fmt(run->mem, "RCPT <%.*s>", STR_ARG(c->address.text));
    case SMTP_EV_DATA:
        return "DATA";
    case SMTP_EV_MESSAGE:
        return str_fmt(run->mem, "MESSAGE %s %llu",
                       event->fault != SMTP_DATA_OK ? smtp_data_fault_name(event->fault)
                       : event->too_big             ? "too big"
                                                    : "ok",
                       (unsigned long long)event->bytes);
    case SMTP_EV_AUTH:
        return str_fmt(run->mem, "AUTH %.*s %.*s", STR_ARG(c->mechanism), STR_ARG(c->initial_response));
    case SMTP_EV_RESPONSE:
        return str_fmt(run->mem, "RESPONSE %.*s", STR_ARG(event->response));
    case SMTP_EV_RESET:
        return "RESET";
    case SMTP_EV_CLOSE:
        return str_fmt(run->mem, "CLOSE %s", event->why);
    default:
        bug("event %d", event->kind);
    }
}

static bool wants_answer(enum smtp_event_kind kind)
{
    return kind != SMTP_EV_RESET && kind != SMTP_EV_CLOSE;
}

/* An event that its reply shows anyway need not be written down; those without one must be. */
static void take_event(struct run *run, const struct smtp_event *event)
{
    const char *text = event_text(run, event);

    if (due(run)->kind == 'E' || !wants_answer(event->kind))
        expect(run, 'E', text);
    if (event->kind == SMTP_EV_DATA)
        buf_clear(&run->body);
    if (event->kind == SMTP_EV_MESSAGE && due(run)->kind == 'B') {
        if (!str_eq(buf_str(&run->body), due(run)->text))
            differs(run, str_dup(run->mem, buf_str(&run->body)));
        run->at++;
    }
}

static struct str default_answer(enum smtp_event_kind kind)
{
    switch (kind) {
    case SMTP_EV_STARTTLS:
        return STR("220 2.0.0 Go ahead");
    case SMTP_EV_DATA:
        return STR("354 Go on");
    case SMTP_EV_AUTH:
    case SMTP_EV_RESPONSE:
        return STR("235 2.7.0 Welcome");
    default:
        return STR("250 2.0.0 Yes");
    }
}

/* What the test's policy says: the A line that is due, or yes. */
static void answer(struct run *run, const struct smtp_event *event)
{
    struct str text = default_answer(event->kind), code_text, enhanced, rest;
    uint64_t code;

    if (due(run)->kind == 'A')
        text = run->dialogue->items[run->at++].text;
    str_cut(text, ' ', &code_text, &rest);
    if (!str_to_u64(code_text, 599, &code))
        t_fail("%s: \"%.*s\" is no answer", run->dialogue->file, STR_ARG(text));
    if (str_cut(rest, ' ', &enhanced, &text) && str_has(enhanced, '.'))
        rest = text;
    else
        enhanced = STR("");
    smtp_server_answer(run->server, (int)code, str_dup(run->mem, enhanced), rest);
}

static void pump(struct run *run)
{
    struct smtp_event event;

    for (;;) {
        smtp_server_next(run->server, &event);
        take_replies(run);
        if (event.kind == SMTP_EV_NEED_INPUT || run->closed)
            return;
        take_event(run, &event);
        run->closed = event.kind == SMTP_EV_CLOSE;
        if (wants_answer(event.kind))
            answer(run, &event);
    }
}

/* ---- playing ---- */

static void collect(struct str piece, void *arg)
{
    struct run *run = arg;

    buf_add_str(&run->body, piece);
}

/* A copy of just its size, so that sanitizers see who reads beyond it. */
static void feed(struct run *run, struct str piece)
{
    char *copy = run->closed ? NULL : malloc(piece.n);

    if (run->closed)
        return;
    if (copy == NULL)
        out_of_memory();
    memcpy(copy, piece.p, piece.n);
    smtp_server_feed(run->server, copy, piece.n);
    pump(run);
    t_true(smtp_server_keep(run->server));
    free(copy);
}

/* The client's bytes in one piece a group, but cut after `cut` bytes of the whole, or everywhere. */
static void say(struct run *run, struct str bytes, size_t before, size_t cut)
{
    if (cut > before && cut < before + bytes.n) {
        feed(run, str_upto(bytes, cut - before));
        bytes = str_from(bytes, cut - before);
    }
    while (cut == SIZE_MAX && bytes.n > 1) {
        feed(run, str_upto(bytes, 1));
        bytes = str_from(bytes, 1);
    }
    if (bytes.n > 0)
        feed(run, bytes);
}

static struct str take_group(struct run *run)
{
    size_t first = run->at, n = 0;
    char *all;

    while (due(run)->kind == 'C')
        n += run->dialogue->items[run->at++].text.n;
    all = arena_alloc(run->mem, n + 1);
    n = 0;
    for (size_t i = first; i < run->at; i++) {
        memcpy(all + n, run->dialogue->items[i].text.p, run->dialogue->items[i].text.n);
        n += run->dialogue->items[i].text.n;
    }
    return str_make(all, n);
}

static void greet(struct run *run)
{
    struct str code_text = STR("220"), enhanced = STR(""), text = STR("");
    uint64_t code = 220;

    if (due(run)->kind == 'G') {
        str_cut(due(run)->text, ' ', &code_text, &text);
        str_cut(text, ' ', &enhanced, &text);
        str_to_u64(code_text, 599, &code);
        run->at++;
        smtp_server_greet(run->server, (int)code, str_dup(run->mem, enhanced), str_dup(run->mem, text));
        pump(run);
        return;
    }
    smtp_server_greet(run->server, 220, "", "");
    buf_clear(&run->out);
}

static void play(const struct dialogue *d, size_t cut)
{
    struct run run = {.dialogue = d, .mem = arena_new(0)};
    bool greeted = d->count > 1 && d->items[1].kind == 'G'; /* an early talker: C, then G */
    size_t said = 0;

    buf_init(&run.out, 64 * 1024);
    buf_init(&run.body, 4 * 1024 * 1024);
    run.server = smtp_server_new(&d->settings, &run.out, collect, &run);
    smtp_server_offer_starttls(run.server, d->tls);
    smtp_server_require_tls(run.server, d->require_tls);
    smtp_server_offer_auth(run.server, d->auth);
    if (d->tls_on)
        smtp_server_tls_started(run.server);
    if (!greeted)
        greet(&run);
    while (run.at < d->count) {
        struct str bytes = take_group(&run);

        say(&run, bytes, said, cut);
        said += bytes.n;
        if (due(&run)->kind == 'T') {
            smtp_server_tls_started(run.server);
            run.at++;
        } else if (due(&run)->kind == 'G') {
            greet(&run);
        } else if (bytes.n == 0) {
            differs(&run, "nothing");
        }
    }
    smtp_server_free(&run.server);
    buf_fini(&run.out);
    buf_fini(&run.body);
    arena_free(&run.mem);
}

static void test_dialogue(void **state)
{
    const struct dialogue *d = *state;
    size_t step = d->bytes <= LONG_DIALOGUE ? 1 : d->bytes / CUTS_OF_A_LONG_ONE;

    t_case(str_fmt(memory, "%s, each group whole", d->name), NULL);
    play(d, 0);
    if (d->whole_only)
        return;
    t_case(str_fmt(memory, "%s, byte by byte", d->name), NULL);
    play(d, SIZE_MAX);
    for (size_t cut = 1; cut < d->bytes; cut += step) {
        t_case(str_fmt(memory, "%s, cut after %zu bytes", d->name, cut), NULL);
        play(d, cut);
    }
}

int main(void)
{
    static struct CMUnitTest tests[DIALOGUES_MAX];
    int failed;

    memory = arena_new(0);
    read_all("tests/dialogues");
    for (size_t i = 0; i < dialogues_count; i++)
        tests[i] = (struct CMUnitTest){dialogues[i].name, test_dialogue, NULL, NULL, &dialogues[i]};
    failed = _cmocka_run_group_tests("dialogues", tests, dialogues_count, NULL, NULL);
    arena_free(&memory);
    return failed > 0 || dialogues_count == 0;
}

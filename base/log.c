#include "base/log.h"

#include "base/hash.h"
#include "base/log_syslog.h"
#include "base/metric.h"
#include "base/utf8.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* After a line has woken the writer it naps, so that a busy server wakes it a thousand times a second at
 * the most, and not once a line: waking a thread costs the caller more than building the line. */
static const struct timespec nap = {0, 1000 * 1000};

enum {
    END_ROOM = 16,         /* kept free in every line for its end: `,"cut":1}` and the newline */
    STALL_MS = 500,        /* of a target that takes nothing, before log_close() gives up */
    KEPT_ROOM = 64 * 1024, /* memory a buffer may keep after a burst */
};

static const char *const level_names[] = {"error", "warning", "info", "debug"};

/* What every line asks. Each is on its own: a line may see the old level and the new format. */
static _Atomic int wanted_level = LOG_INFO, wanted_format = LOG_LOGFMT, wanted_target = LOG_STDERR,
                   wanted_privacy = LOG_PRIVACY_NONE;

/* What the writer shares with everybody. Lines wait in one buffer a target; those for syslog begin with
 * their level as one digit. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t work;
    pthread_t thread;
    bool running, closing, asleep;
    struct buf waiting[2]; /* by enum log_target */
    uint64_t dropped;      /* since the last report */
    struct metric *lost;
} shared = {.lock = PTHREAD_MUTEX_INITIALIZER,
            .work = PTHREAD_COND_INITIALIZER,
            .waiting = {{.max = LOG_WAITING_BYTES}, {.max = LOG_WAITING_BYTES}}};

/* ---- building a line ---- */

enum { PLAIN = 0, QUOTED = 1, ESCAPED = 2, BACKSLASHED = 4 };

/* What a byte asks for: blank and "=" quotes (in logfmt), what is not printable ASCII an escape. */
static unsigned kind_of(unsigned char c)
{
    if (c == '"')
        return QUOTED | BACKSLASHED;
    if (c == '\\')
        return BACKSLASHED;
    if (c == ' ' || c == '=')
        return QUOTED;
    return c > 0x20 && c < 0x7f ? PLAIN : ESCAPED;
}

static unsigned char kinds[256];

enum { PIECE_MAX = 12 }; /* bytes that stand for one byte or character of a value */

static void fill_kinds(void)
{
    for (int c = 0; c < 256; c++)
        kinds[c] = (unsigned char)kind_of((unsigned char)c);
}

static void put_bytes(struct log_line *line, const char *bytes, size_t n)
{
    memcpy(line->text + line->n, bytes, n);
    line->n += n;
}

static void put_char(struct log_line *line, char c)
{
    line->text[line->n++] = c;
}

/* The text of a number; returns where it begins inside `digits`. */
static const char *number_text(int64_t value, char digits[24], size_t *n_out)
{
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    char *p = digits + 24;

    do {
        *--p = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (value < 0)
        *--p = '-';
    *n_out = (size_t)(digits + 24 - p);
    return p;
}

/* The second is formatted once a thread, the microseconds each time. */
static void put_time(struct log_line *line)
{
    static _Thread_local time_t second = -1;
    static _Thread_local char text[32];
    char micro[] = ".000000Z";
    struct timespec now;
    struct tm tm;
    long rest;

    clock_gettime(CLOCK_REALTIME, &now);
    if (now.tv_sec != second) {
        gmtime_r(&now.tv_sec, &tm);
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
        second = now.tv_sec;
    }
    rest = now.tv_nsec / 1000;
    for (int i = 6; i > 0; i--, rest /= 10)
        micro[i] = (char)('0' + rest % 10);
    put_bytes(line, text, strlen(text));
    put_bytes(line, micro, sizeof(micro) - 1);
}

/* `key=` or `"key":`, with what separates it from the field before. */
static void put_key(struct log_line *line, const char *key, size_t n)
{
    if (line->format == LOG_JSON) {
        if (line->text[line->n - 1] != '{')
            put_char(line, ',');
        put_char(line, '"');
        put_bytes(line, key, n);
        put_bytes(line, "\":", 2);
        return;
    }
    if (line->n > 0)
        put_char(line, ' ');
    put_bytes(line, key, n);
    put_char(line, '=');
}

/* One byte of a value in its written form; at most six bytes. Returns their count. */
static size_t written_byte(unsigned char c, enum log_format format, char out[PIECE_MAX])
{
    static const char hex[] = "0123456789abcdef";
    size_t n = 0;

    if (kinds[c] & BACKSLASHED) {
        out[n++] = '\\';
        out[n++] = (char)c;
        return n;
    }
    if (!(kinds[c] & ESCAPED)) {
        out[0] = (char)c;
        return 1;
    }
    n = format == LOG_JSON ? 4 : 2;
    memcpy(out, format == LOG_JSON ? "\\u00" : "\\x", n);
    out[n++] = hex[c >> 4];
    out[n++] = hex[c & 15];
    return n;
}

/* A character beyond ASCII as JSON writes it, beyond 16 bits as two surrogates (RFC 8259 7). Returns the count of bytes. */
static size_t written_character(uint32_t code, char out[PIECE_MAX])
{
    char text[PIECE_MAX + 1];
    int n;

    if (code < 0x10000)
        n = snprintf(text, sizeof(text), "\\u%04x", (unsigned)code);
    else
        n = snprintf(text, sizeof(text), "\\u%04x\\u%04x", 0xd800 + (unsigned)((code - 0x10000) >> 10),
                     0xdc00 + (unsigned)(code & 0x3ff));
    memcpy(out, text, (size_t)n);
    return (size_t)n;
}

/* What the value begins with, in its written form; returns the count of its bytes, and of those that it stands for. */
static size_t written_piece(struct str value, enum log_format format, char out[PIECE_MAX], size_t *read)
{
    size_t n = format == LOG_JSON ? utf8_length(value) : 0;

    *read = n > 1 ? n : 1;
    return n > 1 ? written_character(utf8_code(value, n), out)
                 : written_byte((unsigned char)value.p[0], format, out);
}

static unsigned kinds_in(struct str value)
{
    unsigned all = PLAIN;

    for (size_t i = 0; i < value.n; i++)
        all |= kinds[(unsigned char)value.p[i]];
    return all;
}

/* The value in its written form, of at most LOG_VALUE_MAX bytes: "..." stands for what was cut. `all`: the kinds in it. */
static size_t write_value(struct str value, unsigned all, enum log_format format, char out[LOG_VALUE_MAX])
{
    size_t n = 0;

    if (value.n <= LOG_VALUE_MAX && !(all & (ESCAPED | BACKSLASHED))) {
        memcpy(out, value.p, value.n);
        return value.n;
    }
    for (size_t read; value.n > 0; value = str_from(value, read)) {
        char piece[PIECE_MAX];
        size_t more = written_piece(value, format, piece, &read);

        if (n + more > LOG_VALUE_MAX - 3) {
            memcpy(out + n, "...", 3);
            return n + 3;
        }
        memcpy(out + n, piece, more);
        n += more;
    }
    return n;
}

static bool has_room(struct log_line *line, size_t n)
{
    if (line->n + n + END_ROOM <= sizeof(line->text))
        return true;
    line->cut = true;
    return false;
}

void log_put(struct log_line *line, const char *key, struct str value)
{
    char written[LOG_VALUE_MAX];
    size_t key_n, n;
    unsigned all;
    bool quotes;

    if (!line->wanted || value.n == 0)
        return;
    key_n = strlen(key);
    all = kinds_in(value);
    n = write_value(value, all, line->format, written);
    if (!has_room(line, key_n + n + 6))
        return;
    quotes = line->format == LOG_JSON || (all & QUOTED);
    put_key(line, key, key_n);
    if (quotes)
        put_char(line, '"');
    put_bytes(line, written, n);
    if (quotes)
        put_char(line, '"');
}

void log_put_z(struct log_line *line, const char *key, const char *value)
{
    if (line->wanted && value != NULL)
        log_put(line, key, str_of(value));
}

void log_put_int(struct log_line *line, const char *key, int64_t value)
{
    char digits[24];
    size_t key_n, n;
    const char *text;

    if (!line->wanted)
        return;
    key_n = strlen(key);
    text = number_text(value, digits, &n);
    if (!has_room(line, key_n + n + 4))
        return;
    put_key(line, key, key_n);
    put_bytes(line, text, n);
}

/* The same address has the same twelve digits as long as the process lives, and nobody can try addresses
 * against them: the hash is keyed. */
static struct str hashed(struct str address, char out[LOG_VALUE_MAX])
{
    char lower[LOG_VALUE_MAX];
    size_t n = address.n < sizeof(lower) ? address.n : sizeof(lower);

    for (size_t i = 0; i < n; i++)
        lower[i] = ascii_lower(address.p[i]);
    snprintf(out, LOG_VALUE_MAX, "%016llx", (unsigned long long)hash_bytes(lower, n));
    return str_make(out, 12);
}

/* An address without a domain shows nothing but that it was there. */
static struct str domain_only(struct str address, char out[LOG_VALUE_MAX])
{
    size_t at = address.n, n;

    out[0] = '*';
    while (at > 0 && address.p[at - 1] != '@')
        at--;
    if (at == 0)
        return str_make(out, 1);
    n = address.n - (at - 1);
    if (n > LOG_VALUE_MAX - 1)
        n = LOG_VALUE_MAX - 1;
    memcpy(out + 1, address.p + at - 1, n);
    return str_make(out, n + 1);
}

struct str log_private(struct str address, char out[LOG_VALUE_MAX])
{
    enum log_privacy privacy = log_privacy();

    if (address.n == 0 || privacy == LOG_PRIVACY_NONE)
        return address;
    return privacy == LOG_PRIVACY_HASH ? hashed(address, out) : domain_only(address, out);
}

/* What ends an address within a text. */
static bool ends_word(char c)
{
    return (unsigned char)c <= ' ' || strchr("<>()[]\",;:", c) != NULL;
}

static bool has(struct str text, const char *part)
{
    return memmem(text.p, text.n, part, strlen(part)) != NULL;
}

/* In an URL, as SPF's explanations have them, the @ is escaped, and the address somewhere in the middle. */
static struct str private_word(struct str word, char out[LOG_VALUE_MAX])
{
    return has(word, "%40") ? STR("*") : has(word, "@") ? log_private(word, out) : word;
}

static void add_bytes(struct str bytes, char out[LOG_VALUE_MAX], size_t *n)
{
    bytes = str_upto(bytes, LOG_VALUE_MAX - *n);
    if (bytes.n > 0)
        memcpy(out + *n, bytes.p, bytes.n);
    *n += bytes.n;
}

struct str log_private_words(struct str text, char out[LOG_VALUE_MAX])
{
    char shown[LOG_VALUE_MAX];
    size_t n = 0;

    if (log_privacy() == LOG_PRIVACY_NONE || text.n == 0 || !(has(text, "@") || has(text, "%40")))
        return text;
    if (has(text, "\"@")) /* in a quoted local part nothing says where it begins */
        return STR("*");
    while (text.n > 0) {
        size_t end = 0;

        while (end < text.n && !ends_word(text.p[end]))
            end++;
        add_bytes(private_word(str_upto(text, end), shown), out, &n);
        text = str_from(text, end);
        add_bytes(str_upto(text, 1), out, &n);
        text = str_from(text, 1);
    }
    return str_make(out, n);
}

void log_put_words(struct log_line *line, const char *key, struct str text)
{
    char out[LOG_VALUE_MAX];

    if (line->wanted)
        log_put(line, key, log_private_words(text, out));
}

void log_put_address(struct log_line *line, const char *key, struct str address)
{
    char out[LOG_VALUE_MAX];

    if (line->wanted)
        log_put(line, key, log_private(address, out));
}

/* Syslog has a time and a level of its own. */
static void start_text(struct log_line *line)
{
    line->n = 0;
    line->cut = false;
    if (line->format == LOG_JSON)
        put_char(line, '{');
    if (line->target == LOG_SYSLOG)
        return;
    put_key(line, "ts", 2);
    if (line->format == LOG_JSON)
        put_char(line, '"');
    put_time(line);
    if (line->format == LOG_JSON)
        put_char(line, '"');
    log_put_z(line, "level", level_names[line->level]);
}

void log_line_begin(struct log_line *line, enum log_level level, const char *id, const char *event)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    line->level = level;
    line->wanted = (int)level <= atomic_load_explicit(&wanted_level, memory_order_relaxed);
    if (!line->wanted)
        return;
    pthread_once(&once, fill_kinds);
    line->format = (enum log_format)atomic_load_explicit(&wanted_format, memory_order_relaxed);
    line->target = (enum log_target)atomic_load_explicit(&wanted_target, memory_order_relaxed);
    start_text(line);
    log_put_z(line, "id", id);
    log_put_z(line, "event", event);
}

static void end_text(struct log_line *line)
{
    if (line->cut) {
        put_key(line, "cut", 3);
        put_char(line, '1');
    }
    if (line->format == LOG_JSON)
        put_char(line, '}');
    put_char(line, '\n');
}

/* ---- the writer ---- */

static bool is_closing(void)
{
    bool closing;

    pthread_mutex_lock(&shared.lock);
    closing = shared.closing;
    pthread_mutex_unlock(&shared.lock);
    return closing;
}

/* As many whole lines as a pipe that is ready takes without blocking. */
static size_t piece_of(struct str lines)
{
    const char *end;

    if (lines.n <= PIPE_BUF)
        return lines.n;
    end = memrchr(lines.p, '\n', PIPE_BUF);
    return end != NULL ? (size_t)(end - lines.p) + 1 : PIPE_BUF;
}

/* Waits for a reader who fell asleep, but not when the log is to be closed. */
static void write_to_stderr(struct str lines)
{
    while (lines.n > 0) {
        struct pollfd ready = {STDERR_FILENO, POLLOUT, 0};
        ssize_t n;

        if (poll(&ready, 1, STALL_MS) <= 0) {
            if (is_closing())
                return;
            continue;
        }
        n = write(STDERR_FILENO, lines.p, piece_of(lines));
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return; /* nobody is there to be told */
        if (n > 0)
            lines = str_from(lines, (size_t)n);
    }
}

static void write_to_syslog(struct str lines)
{
    while (lines.n > 0) {
        struct str line;

        str_cut(lines, '\n', &line, &lines);
        log_syslog_send((unsigned)(line.p[0] - '0'), str_from(line, 1));
    }
}

static void report_loss(uint64_t dropped)
{
    struct log_line line;

    log_line_begin(&line, LOG_WARNING, NULL, "log.dropped");
    if (!line.wanted)
        return;
    log_put_int(&line, "count", (int64_t)dropped);
    end_text(&line);
    if (line.target == LOG_SYSLOG)
        log_syslog_send(line.level, str_make(line.text, line.n - 1));
    else
        write_to_stderr(str_make(line.text, line.n));
}

static bool has_waiting(void)
{
    return shared.waiting[LOG_STDERR].n > 0 || shared.waiting[LOG_SYSLOG].n > 0 || shared.dropped > 0;
}

/* Waits for lines and takes all of them; false when the log is closed and nothing waits. */
static bool take_lines(struct buf taken[2], uint64_t *dropped_out)
{
    bool any;

    pthread_mutex_lock(&shared.lock);
    if (!has_waiting() && !shared.closing) {
        do {
            shared.asleep = true;
            pthread_cond_wait(&shared.work, &shared.lock);
        } while (!has_waiting() && !shared.closing);
        shared.asleep = false;
        pthread_mutex_unlock(&shared.lock);
        nanosleep(&nap, NULL);
        pthread_mutex_lock(&shared.lock);
    }
    any = has_waiting();
    if (!any)
        shared.running = false;
    for (int i = 0; i < 2; i++) {
        struct buf empty = taken[i];

        taken[i] = shared.waiting[i];
        shared.waiting[i] = empty;
    }
    *dropped_out = shared.dropped;
    shared.dropped = 0;
    pthread_mutex_unlock(&shared.lock);
    return any;
}

static void forget_lines(struct buf *taken)
{
    if (taken->room > KEPT_ROOM)
        buf_fini(taken);
    else
        buf_clear(taken);
}

static void *write_lines(void *arg)
{
    struct buf taken[2];
    uint64_t dropped;

    (void)arg;
    buf_init(&taken[LOG_STDERR], LOG_WAITING_BYTES);
    buf_init(&taken[LOG_SYSLOG], LOG_WAITING_BYTES);
    while (take_lines(taken, &dropped)) {
        write_to_stderr(buf_str(&taken[LOG_STDERR]));
        write_to_syslog(buf_str(&taken[LOG_SYSLOG]));
        if (dropped > 0)
            report_loss(dropped);
        forget_lines(&taken[LOG_STDERR]);
        forget_lines(&taken[LOG_SYSLOG]);
    }
    buf_fini(&taken[LOG_STDERR]);
    buf_fini(&taken[LOG_SYSLOG]);
    return NULL;
}

/* ---- handing over ---- */

/* The caller holds the lock. False: no room, and the line is lost. */
static bool append(const struct log_line *line)
{
    struct buf *waiting = &shared.waiting[line->target];
    size_t mark = line->target == LOG_SYSLOG ? 1 : 0;
    char *p = buf_reserve(waiting, line->n + mark);

    if (p == NULL)
        return false;
    if (mark)
        *p = (char)('0' + line->level);
    memcpy(p + mark, line->text, line->n);
    buf_commit(waiting, line->n + mark);
    return true;
}

void log_line_end(struct log_line *line)
{
    bool running, wake;

    if (!line->wanted)
        return;
    end_text(line);
    pthread_mutex_lock(&shared.lock);
    running = shared.running;
    if (running && !append(line)) {
        shared.dropped++;
        metric_add(shared.lost, 1);
    }
    wake = shared.asleep;
    shared.asleep = false;
    pthread_mutex_unlock(&shared.lock);
    if (wake)
        pthread_cond_signal(&shared.work);
    if (!running)
        (void)!write(STDERR_FILENO, line->text, line->n);
}

void log_note(enum log_level level, const char *event, const char *format, ...)
{
    struct log_line line;
    char text[LOG_VALUE_MAX + 1];
    va_list args;

    log_line_begin(&line, level, NULL, event);
    if (!line.wanted)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    log_put_z(&line, "text", text);
    log_line_end(&line);
}

/* ---- opening and closing ---- */

enum log_privacy log_privacy(void)
{
    return (enum log_privacy)atomic_load_explicit(&wanted_privacy, memory_order_relaxed);
}

static void want(const struct log_settings *settings)
{
    atomic_store(&wanted_level, settings->level);
    atomic_store(&wanted_format, settings->format);
    atomic_store(&wanted_target, settings->target);
    atomic_store(&wanted_privacy, settings->privacy);
}

/* Signals are for the loops. */
static bool start_writer(void)
{
    sigset_t all, before;
    bool started;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    started = pthread_create(&shared.thread, NULL, write_lines, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

void log_open(const struct log_settings *settings)
{
    if (settings->target == LOG_SYSLOG)
        log_syslog_open();
    want(settings);
    pthread_mutex_lock(&shared.lock);
    if (shared.running) {
        pthread_mutex_unlock(&shared.lock);
        return;
    }
    shared.lost = metric_counter("smtpguard_log_lines_dropped_total",
                                 "Log lines lost because the target was too slow", "");
    shared.closing = false;
    shared.running = true;
    if (!start_writer())
        shared.running = false; /* then every caller writes its own lines */
    pthread_mutex_unlock(&shared.lock);
}

void log_close(void)
{
    static const struct log_settings direct = {LOG_STDERR, LOG_LOGFMT, LOG_INFO, LOG_PRIVACY_NONE};
    bool running;

    pthread_mutex_lock(&shared.lock);
    running = shared.running;
    shared.closing = true;
    pthread_mutex_unlock(&shared.lock);
    if (!running)
        return;
    pthread_cond_signal(&shared.work);
    pthread_join(shared.thread, NULL);
    for (int i = 0; i < 2; i++)
        buf_fini(&shared.waiting[i]);
    want(&direct);
}

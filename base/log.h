/*
 * base/log.h - one line an event
 *
 * Ownership  log_open() starts the process's log; log_line_… build one line in the caller's
 *            struct and copy it away at log_line_end().
 * Timing     Never blocks the caller: a thread of its own writes. When the target is slower than
 *            we are, lines beyond LOG_WAITING_BYTES are dropped, counted, and the loss is logged.
 * Limits     A value from outside is cut at LOG_VALUE_MAX bytes, a line at LOG_LINE_MAX.
 * Escaping   In this one place: printable ASCII stays, all else becomes \xNN for each byte (logfmt), or \uNNNN for
 *            each character of UTF-8 and \u00NN for any other byte (JSON). Values with blanks, quotes or "=" are
 *            quoted in logfmt.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/buf.h"

enum { LOG_VALUE_MAX = 512, LOG_LINE_MAX = 2048, LOG_WAITING_BYTES = 4 * 1024 * 1024 };

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_LOGFMT, LOG_JSON };
enum log_target { LOG_STDERR, LOG_SYSLOG };
enum log_privacy { LOG_PRIVACY_NONE, LOG_PRIVACY_HASH, LOG_PRIVACY_DOMAINS };

struct log_settings {
    enum log_target target;
    enum log_format format;
    enum log_level level;
    enum log_privacy privacy;
};

void log_open(const struct log_settings *settings); /* again: the new settings hold from here on */
void log_close(void);                               /* writes what waits, then stops the thread */
enum log_privacy log_privacy(void);
/* A mail address as log.privacy lets it be shown: itself, or a view of `out`. */
struct str log_private(struct str address, char out[LOG_VALUE_MAX]);
/* A text of others, above all of a reply, with each address in it so: itself, or a view of `out`. Whoever is named without
 * his domain stays. */
struct str log_private_words(struct str text, char out[LOG_VALUE_MAX]);

/* A line is begun, given its fields in order, and ended. Below the level, all of it does nothing. */
struct log_line {
    bool wanted;
    enum log_level level;
    char text[LOG_LINE_MAX];
    size_t n;
    enum log_format format; /* as the line began; a reload changes the next one */
    enum log_target target;
    bool cut; /* a field did not fit: it is missing, and the line ends with cut=1 */
};
void log_line_begin(struct log_line *line, enum log_level level, const char *id, const char *event);
void log_put(struct log_line *line, const char *key, struct str value); /* empty values are left out */
void log_put_z(struct log_line *line, const char *key, const char *value);
void log_put_int(struct log_line *line, const char *key, int64_t value);
void log_put_address(struct log_line *line, const char *key, struct str address); /* obeys log.privacy */
void log_put_words(struct log_line *line, const char *key, struct str text);      /* likewise, within the text */
void log_line_end(struct log_line *line);

/* event= and one text: for the process's own life (started, reloaded, certificate changed …). */
void log_note(enum log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif

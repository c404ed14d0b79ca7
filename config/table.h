/*
 * config/table.h - every setting, declared once
 *
 * A row is a key, its type, where its value goes, its default and limits as they would be written, and a
 * sentence. From these come parsing, checking, `config show`, and the test that holds smtpguard.yaml.example
 * to the program. "listen[].name" is a key of each element of the list "listen"; those rows store into the
 * element.
 */
#ifndef CONFIG_TABLE_H
#define CONFIG_TABLE_H

#include "base/str.h"

enum setting_type {
    SET_WORD, /* one of `words` */
    SET_BOOL,
    SET_NUMBER,
    SET_WORKERS,  /* a number or "auto" (0) */
    SET_DURATION, /* in ms */
    SET_SECONDS,  /* a duration in whole seconds */
    SET_SIZE,     /* in octets */
    SET_RATE,     /* a number, and the period in ms at `second` */
    SET_TIME,     /* of day */
    SET_TEXT,     /* `most` letters */
    SET_CIPHERS,
    SET_NAME,     /* a word for logs */
    SET_HOSTNAME, /* a full name, with a dot */
    SET_DOMAIN,
    SET_AUTHSERV_ID,
    SET_PATH,
    SET_STORE_URL,
    SET_LISTEN,  /* IP:PORT */
    SET_HTTP,    /* IP:PORT, or "" for none */
    SET_BACKEND, /* IP:PORT, NAME:PORT or unix:PATH (a struct backend_settings), and its text at `second` */
    /* Lists: a pointer to the elements, and their number at `second`. */
    SET_SERVERS,
    SET_NETWORKS, /* a struct net_list */
    SET_DOMAINS,  /* kept as text; config/domains.c makes them names */
    SET_ALLOW, /* kept as text; config/allow.c makes them entries */
    SET_ALLOW_RECIPIENTS,
    SET_CODES,
    SET_PINS, /* SHA-256, as hex digits */
    SET_TEXTS,
    SET_RECORDS, /* of `record_bytes` each, described by the rows "key[].…" */
};

struct word {
    const char *text; /* with ":" at its end: "file:" and something behind it */
    int value;
    bool later; /* known, but not built yet */
};

struct setting {
    const char *key;
    enum setting_type type;
    struct {
        size_t offset, bytes; /* 0 bytes: nothing is stored */
    } at;
    const char *standard; /* the default; NULL: must be given. Lists: elements between commas. Records: "{}"
                             is one of defaults */
    const char *least, *most;
    const struct word *words;
    size_t second; /* offset of the companion field, of the types that have one */
    size_t record_bytes;
    const char *later; /* what is not built yet: only the default is accepted, or of words those not marked */
    const char *sentence;
};

extern const struct setting settings[];
extern const size_t settings_count;

const struct setting *setting_find(struct str key); /* "listen[].name"; NULL: none */
bool setting_is_list(const struct setting *row);    /* not: records */
bool setting_is_number(const struct setting *row);  /* written without quotes, and a number in JSON */

/* Calls for every key right below `prefix` ("" or "tls." or "listen[]."): the next segment's text. */
typedef void setting_child_fn(const char *segment, void *arg);
void setting_children(struct arena *mem, struct str prefix, setting_child_fn *each, void *arg);

#endif

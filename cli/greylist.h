/*
 * cli/greylist.h - what the greylist verbs share: their options, the store, whom they mean
 */
#ifndef CLI_GREYLIST_H
#define CLI_GREYLIST_H

#include "base/json.h"
#include "cli/store_open.h"
#include "grey/book.h"

struct cli_greylist_options {
    const char *config_file, *store_url, *from, *state, *word; /* NULL: not given */
    uint64_t limit;
    bool json;
};

struct cli_greylist {
    const char *verb;
    struct cli_greylist_options options;
    struct cli_lookup lookup; /* settings and loop */
    struct store *store;
    struct cli_waiting waiting;
    int64_t now_unix;

    /* Whom options.word means: clients by their identities, or mail by its sender or recipient. */
    const char *identities[GREY_BOOK_NAMES_MAX];
    int identities_count;
    struct str sender, recipient; /* normalised; n = 0: clients are meant, or all */
};

/* Reads the options, opens the store, and finds out whom the word means: 0 or an exit code, said why. `takes_word`:
 * one is wanted. cli_greylist_close() in any case. */
int cli_greylist_open(struct cli_greylist *greylist, const char *verb, int argc, char **argv,
                      bool takes_word);
void cli_greylist_close(struct cli_greylist *greylist);

/* The entries of whom the word means, or all: 0 or an exit code, said why. */
int cli_greylist_each(struct cli_greylist *greylist, grey_book_each_fn *each, void *arg);

void cli_greylist_print_json(struct json *json, const struct grey_book_entry *entry);
void cli_greylist_print(const struct grey_book_entry *entry, int64_t delay_s);

/* postgrey's files in a folder: its rows one after the other, -1 with the reason. */
struct cli_postgrey_row {
    struct str key, value;
    bool is_client; /* of postgrey_clients.db */
};
typedef bool cli_postgrey_row_fn(const struct cli_postgrey_row *row, void *arg); /* false: enough */
int cli_postgrey_read(const char *folder, cli_postgrey_row_fn *each, void *arg, struct fail *fail);

#endif

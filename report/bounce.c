#include "report/bounce.h"

#include "base/bug.h"
#include "base/hash.h"

#include <inttypes.h>
#include <string.h>
#include <sys/random.h>

enum { TOKEN_DIGITS = 16 };

/* ---- the key ---- */

struct str bounce_key_name(void)
{
    return STR("k");
}

struct bounce_key bounce_key_draw(void)
{
    struct bounce_key key;

    if (getrandom(&key, sizeof(key), 0) != (ssize_t)sizeof(key))
        bug("getrandom gave no key");
    return key;
}

struct bounce_key bounce_key_keep(struct arena *mem, const struct bounce_key *fresh, struct store_row *row)
{
    struct bounce_key key = *fresh;

    if (row->value.n == sizeof(key))
        memcpy(&key, row->value.p, sizeof(key));
    else
        *row = (struct store_row){str_make(arena_copy(mem, &key, sizeof(key)), sizeof(key)), 0};
    return key;
}

const char *bounce_token(struct arena *mem, const struct bounce_key *key, const char *recipient)
{
    if (key->half[0] == 0 && key->half[1] == 0)
        return NULL;
    recipient = str_dup_lower(mem, str_of(recipient));
    return str_fmt(mem, "%0*" PRIx64, TOKEN_DIGITS, hash_keyed(recipient, strlen(recipient), key->half));
}

/* ---- what comes back ---- */

static bool is_notification(struct arena *mem, const struct header *header)
{
    const struct header_field *field = header_find(header, "Content-Type");

    return field != NULL &&
           str_starts_same(str_trim(header_unfold(mem, field->value)), STR("multipart/report"));
}

/* Its parts are not taken apart: three lines that stand nowhere else by chance are enough. */
const char *bounce_read(struct arena *mem, const struct header *header, struct str body)
{
    bool failed = false, permanent = false;
    struct str line, name, value, token = STR("");

    if (!is_notification(mem, header))
        return NULL;
    while (body.n > 0) {
        str_cut(body, '\n', &line, &body);
        if (!str_cut(line, ':', &name, &value))
            continue;
        value = str_trim(value);
        failed |= str_same_z(name, "Action") && str_starts_same(value, STR("failed"));
        permanent |= str_same_z(name, "Status") && str_starts_same(value, STR("5."));
        if (str_same_z(name, "X-Report-Token") && value.n == TOKEN_DIGITS)
            token = value;
    }
    return failed && permanent && token.n > 0 ? str_dup(mem, token) : NULL;
}

#include "grey/normalize.h"

#include <string.h>

/* How long a mixture of letters and digits must be to be a token rather than a name. */
enum { TOKEN_MIN = 12, HEX_TOKEN_MIN = 4, BATV_TAG = 10 };

/* ---- the parts of an address ---- */

static struct str without_brackets(struct str address)
{
    if (address.n >= 2 && address.p[0] == '<' && address.p[address.n - 1] == '>')
        return str_make(address.p + 1, address.n - 2);
    return address;
}

/* The last "@", for a quoted local part may have its own (RFC 5321 4.1.2); or n, where there is none. */
static size_t find_domain(struct str address)
{
    size_t i = address.n;

    while (i > 0 && address.p[i - 1] != '@')
        i--;
    return i > 0 ? i - 1 : address.n;
}

static char plain(char c)
{
    return (unsigned char)c < 0x20 || c == 0x7f ? '?' : c;
}

static size_t add_lower(char *out, size_t n, struct str part)
{
    for (size_t i = 0; i < part.n; i++)
        out[n++] = plain(ascii_lower(part.p[i]));
    return n;
}

/* ---- envelopes around the local part ---- */

static bool is_batv_tag(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (ascii_hex(s.p[i]) < 0)
            return false;
    return s.n == BATV_TAG && ascii_is_digit(s.p[0]);
}

/* The draft puts the tag first (prvs=tag=user); some senders put it last. */
static struct str without_prvs(struct str local)
{
    struct str tag, user, last = local;

    if (!str_cut(local, '=', &tag, &user))
        return local;
    while (str_has(last, '='))
        last = str_from(last, str_find(last, '=') + 1);
    if (!is_batv_tag(tag) && is_batv_tag(last))
        return str_upto(local, local.n - last.n - 1);
    return user;
}

static struct str without_batv(struct str local)
{
    struct str tag, user;

    if (str_starts_same(local, STR("prvs=")))
        return without_prvs(str_from(local, strlen("prvs=")));
    if (str_starts_same(local, STR("msprvs1=")) &&
        str_cut(str_from(local, strlen("msprvs1=")), '=', &tag, &user))
        return user;
    if (str_starts_same(local, STR("btv1==")) && str_cut(str_from(local, strlen("btv1==")), '=', &tag, &user))
        return user.n > 0 && user.p[0] == '=' ? str_from(user, 1) : user;
    return local;
}

static bool is_separator(char c)
{
    return c == '=' || c == '+' || c == '-';
}

/* "SRS0=hash=day=domain=user": finds domain and user. The character behind SRS0 may also be "+" or "-". */
static bool cut_srs0(struct str rest, struct str *domain_out, struct str *user_out)
{
    struct str hash, day;

    return str_cut(rest, '=', &hash, &rest) && str_cut(rest, '=', &day, &rest) &&
           str_cut(rest, '=', domain_out, user_out);
}

/* "SRS1=hash=forwarder==hash=day=domain=user": the inner one is what was SRS0 at the first forwarder. */
static bool cut_srs1(struct str rest, struct str *domain_out, struct str *user_out)
{
    struct str hash, forwarder;

    return str_cut(rest, '=', &hash, &rest) && str_cut(rest, '=', &forwarder, &rest) && rest.n > 0 &&
           is_separator(rest.p[0]) && cut_srs0(str_from(rest, 1), domain_out, user_out);
}

static bool cut_srs(struct str local, struct str *domain_out, struct str *user_out)
{
    if (local.n < 6 || !str_starts_same(local, STR("srs")) || !is_separator(local.p[4]))
        return false;
    if (local.p[3] == '0')
        return cut_srs0(str_from(local, 5), domain_out, user_out);
    return local.p[3] == '1' && cut_srs1(str_from(local, 5), domain_out, user_out);
}

static struct str without_extension(struct str local)
{
    size_t plus = str_find(local, '+');

    return plus > 0 ? str_upto(local, plus) : local;
}

/* ---- tokens ---- */

static bool is_token_char(char c)
{
    return ascii_is_alnum(c) || (unsigned char)c >= 0x80;
}

/* A number, a piece of a hash, or a long mixture of letters and digits. john84 is a name, and stays. */
static bool is_token(struct str word)
{
    size_t digits = 0, hex = 0;

    for (size_t i = 0; i < word.n; i++) {
        digits += ascii_is_digit(word.p[i]);
        hex += ascii_hex(word.p[i]) >= 0;
    }
    if (digits == word.n)
        return true;
    if (hex == word.n && digits > 0 && word.n >= HEX_TOKEN_MIN)
        return true;
    return word.n >= TOKEN_MIN && digits >= 2;
}

/* Some providers number their users: alone, a number is a name. */
static bool is_number(struct str user)
{
    uint64_t value;

    return str_to_u64(user, UINT64_MAX, &value);
}

/* The local part, word by word. A "#" is never longer than what it stands for. */
static size_t add_words(char *out, size_t n, struct str local)
{
    size_t i = 0;

    while (i < local.n) {
        size_t end = i;

        while (end < local.n && is_token_char(local.p[end]))
            end++;
        if (end == i)
            out[n++] = plain(local.p[i++]);
        else if (is_token(str_make(local.p + i, end - i)))
            out[n++] = '#';
        else
            n = add_lower(out, n, str_make(local.p + i, end - i));
        i = end > i ? end : i;
    }
    return n;
}

/* ---- the whole ---- */

struct str normalize_sender(struct arena *mem, struct str address)
{
    struct str whole = without_brackets(address), user, srs_domain, srs_user;
    size_t at = find_domain(whole), n = 0;
    char *out = arena_alloc(mem, whole.n + 1);

    user = without_batv(str_upto(whole, at));
    if (cut_srs(user, &srs_domain, &srs_user)) {
        n = add_lower(out, n, STR("srs="));
        n = add_lower(out, n, srs_domain);
        out[n++] = '=';
        user = srs_user;
    }
    user = without_extension(user);
    n = is_number(user) ? add_lower(out, n, user) : add_words(out, n, user);
    n = add_lower(out, n, str_from(whole, at));
    return str_make(out, n);
}

struct str normalize_recipient(struct arena *mem, struct str address)
{
    struct str whole = without_brackets(address);
    size_t at = find_domain(whole), n = 0;
    char *out = arena_alloc(mem, whole.n + 1);

    while (n < at) {
        out[n] = plain(whole.p[n]);
        n++;
    }
    n = add_lower(out, n, str_from(whole, at));
    return str_make(out, n);
}

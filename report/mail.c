#include "report/mail.h"

#include <string.h>
#include <time.h>

enum { LINE_FOLD = 76, LINE_MAX_OCTETS = 998, WORD_OCTETS = 45, BASE64_LINE_OCTETS = 57 };

const char *mail_date(struct arena *mem, int64_t unix_s)
{
    static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t time = (time_t)unix_s;
    struct tm tm;

    gmtime_r(&time, &tm);
    return str_fmt(mem, "%s, %d %s %d %02d:%02d:%02d +0000", days[tm.tm_wday], tm.tm_mday, months[tm.tm_mon],
                   tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

/* ---- base64 ---- */

static void add_base64(struct buf *out, struct str octets)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *p = (const unsigned char *)octets.p;

    for (size_t i = 0; i < octets.n; i += 3) {
        size_t have = octets.n - i < 3 ? octets.n - i : 3;
        unsigned bits =
            (unsigned)p[i] << 16 | (have > 1 ? (unsigned)p[i + 1] << 8 : 0) | (have > 2 ? p[i + 2] : 0);
        char four[4] = {letters[bits >> 18], letters[bits >> 12 & 63],
                        have > 1 ? letters[bits >> 6 & 63] : '=', have > 2 ? letters[bits & 63] : '='};

        buf_add(out, four, 4);
    }
}

void mail_base64(struct buf *out, struct str octets)
{
    for (; octets.n > 0; octets = str_from(octets, BASE64_LINE_OCTETS)) {
        add_base64(out, str_upto(octets, BASE64_LINE_OCTETS));
        buf_add_z(out, "\r\n");
    }
}

/* ---- header fields ---- */

static bool is_printable(char c)
{
    return c >= ' ' && c <= '~';
}

static bool is_plain(struct str text)
{
    for (size_t i = 0; i < text.n; i++)
        if (!is_printable(text.p[i]))
            return false;
    return true;
}

/* Whole characters of UTF-8 in each word (RFC 2047 5). */
static size_t word_octets(struct str text)
{
    size_t n = WORD_OCTETS;

    if (text.n <= n)
        return text.n;
    while (n > 1 && ((unsigned char)text.p[n] & 0xc0) == 0x80)
        n--;
    return n;
}

static void add_phrase(struct buf *out, struct str name)
{
    if (is_plain(name)) {
        buf_add_char(out, '"');
        for (size_t i = 0; i < name.n; i++) {
            if (name.p[i] == '"' || name.p[i] == '\\')
                buf_add_char(out, '\\');
            buf_add_char(out, name.p[i]);
        }
        buf_add_char(out, '"');
        return;
    }
    while (name.n > 0) {
        size_t n = word_octets(name);

        buf_add_z(out, "=?UTF-8?B?");
        add_base64(out, str_upto(name, n));
        buf_add_z(out, name.n > n ? "?=\r\n " : "?=");
        name = str_from(name, n);
    }
}

/* Blanks become folds where the line would be too long. */
static void add_folded(struct buf *out, const char *name, const char *text)
{
    struct str rest = str_of(text), word;
    size_t column = strlen(name) + 1;
    bool more = true;

    buf_fmt(out, "%s:", name);
    while (more) {
        more = str_cut(rest, ' ', &word, &rest);
        if (column + 1 + word.n > LINE_FOLD && column > strlen(name) + 1) {
            buf_add_z(out, "\r\n");
            column = 0;
        }
        buf_fmt(out, " %.*s", STR_ARG(word));
        column += 1 + word.n;
    }
    buf_add_z(out, "\r\n");
}

void mail_begin(struct buf *out, const struct mail *m)
{
    struct arena *mem = arena_new(0);
    const char *token = bounce_token(mem, &m->from->bounces, m->to);

    buf_add_z(out, "From: ");
    add_phrase(out, str_of(m->from->org_name));
    buf_fmt(out, "\r\n <%s>\r\nTo: <%s>\r\n", m->from->email, m->to);
    add_folded(out, "Subject", m->subject);
    buf_fmt(out, "Date: %s\r\nMessage-ID: <%s>\r\n", mail_date(mem, m->date_unix), m->message_id);
    if (token != NULL)
        buf_fmt(out, "X-Report-Token: %s\r\n", token);
    buf_add_z(out, "Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n");
    buf_fmt(out, "Content-Type: %s;\r\n boundary=\"%s\"\r\n\r\n", m->content_type, m->boundary);
    arena_free(&mem);
}

void mail_part(struct buf *out, const char *boundary, const char *fields)
{
    buf_fmt(out, "--%s\r\n%s\r\n\r\n", boundary, fields);
}

void mail_end(struct buf *out, const char *boundary)
{
    buf_fmt(out, "--%s--\r\n", boundary);
}

void mail_lines(struct buf *out, struct str text)
{
    struct str line;

    while (text.n > 0) {
        str_cut(text, '\n', &line, &text);
        if (line.n > 0 && line.p[line.n - 1] == '\r')
            line.n--;
        line = str_upto(line, LINE_MAX_OCTETS);
        for (size_t i = 0; i < line.n; i++)
            buf_add_char(out, is_printable(line.p[i]) || line.p[i] == '\t' ? line.p[i] : '?');
        buf_add_z(out, "\r\n");
    }
}

/* ---- an aggregate report ---- */

/* Not "A message claiming to be from you has failed": readers would take it for a failure report. */
static void add_note(struct buf *out, const char *domain, const struct report_identity *from)
{
    mail_part(out, "smtpguard-report",
              "Content-Type: text/plain; charset=us-ascii\r\nContent-Transfer-Encoding: 7bit");
    buf_fmt(out,
            "This is a DMARC aggregate report (RFC 9990) about mail from\r\n%s\r\nas seen by %s.\r\n\r\n",
            domain, from->submitter);
    buf_add_z(out, "It is sent since the domain's DMARC record asks for it with rua=.\r\n\r\n");
}

void mail_aggregate(struct arena *mem, struct buf *out, const struct report_identity *from, const char *to,
                    const char *domain, const struct aggregate *report, struct str gz, int64_t now_unix)
{
    static const char boundary[] = "smtpguard-report";
    const struct mail mail = {from,
                              to,
                              str_fmt(mem, "Report Domain: %s Submitter: %s Report-ID: <%s@%s>", domain,
                                      from->submitter, report->report_id, from->submitter),
                              str_fmt(mem, "%s@%s", report->report_id, from->submitter),
                              now_unix,
                              "multipart/mixed",
                              boundary};

    mail_begin(out, &mail);
    add_note(out, domain, from);
    mail_part(
        out, boundary,
        str_fmt(mem,
                "Content-Type: application/gzip;\r\n name=\"%s\"\r\nContent-Transfer-Encoding: base64\r\n"
                "Content-Disposition: attachment;\r\n filename=\"%s\"",
                report->file_name, report->file_name));
    mail_base64(out, gz);
    mail_end(out, boundary);
}

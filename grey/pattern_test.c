#include "grey/pattern.h"

#include "base/bug.h"
#include "tests/t.h"

static const struct {
    const char *name, *pattern, *text;
    bool want;
} rows[] = {
    {"letters, anywhere", "mail", "outmail7", true},
    {"in any case", "MaIl", "oUTmAiL7", true},
    {"not there", "mail", "mai", false},
    {"at the beginning", "^mail", "mail1", true},
    {"not at the beginning", "^mail", "amail", false},
    {"at the end", "net$", "x.net", true},
    {"not at the end", "net$", "net.x", false},
    {"the whole", "^a$", "a", true},
    {"a dot is any character", "^m.l$", "m-l", true},
    {"a dot that is meant", "^m\\.l$", "m-l", false},
    {"a digit", "^mail\\d+\\.telekom\\.de$", "mail0815.telekom.de", true},
    {"no digit", "^mail\\d+\\.telekom\\.de$", "mail.telekom.de", false},
    {"a word", "^\\w+$", "a_9", true},
    {"no word", "^\\W$", "-", true},
    {"space and what is none", "^\\s\\S$", " x", true},
    {"the edge of a word", "\\bmta\\b", "x-mta.example", true},
    {"no edge of a word", "\\bmta\\b", "xmta.example", false},
    {"a set", "^mta[12].siol.net$", "mta2.siol.net", true},
    {"not in the set", "^mta[12].siol.net$", "mta3.siol.net", false},
    {"a range", "^[a-f0-9]{4}$", "0aF9", true},
    {"not in the range", "^[a-f]$", "g", false},
    {"an inverted set", "^[^.]+$", "abc", true},
    {"an inverted set refuses", "^[^.]+$", "a.c", false},
    {"an inverted set knows no case", "^[^a]$", "A", false},
    {"a bracket and a hyphen in a set", "^[]a-]+$", "]-a", true},
    {"a class in a set", "^[\\d.]+$", "1.2", true},
    {"a group", "^(ab)+$", "abab", true},
    {"a group that is cut short", "^(ab)+$", "aba", false},
    {"branches", "^(?:mail|fallback-mx)\\d+.atl.registeredsite.com$", "fallback-mx3.atl.registeredsite.com",
     true},
    {"three branches", "^(a|b|c)$", "c", true},
    {"the second of three", "^(a|b|c)$", "b", true},
    {"none of three", "^(a|b|c)$", "d", false},
    {"an empty branch", "^x(|y)$", "x", true},
    {"branches without a group", "^a|b$", "xb", true},
    {"no times", "^ab*c$", "ac", true},
    {"many times", "^ab*c$", "abbbbc", true},
    {"once or not", "^p?smtp.*\\.wxs\\.nl$", "psmtp1.wxs.nl", true},
    {"lazy", "^.*?.server.arvato-systems.de$", "x.server.arvato-systems.de", true},
    {"exactly", "^a{3}$", "aaa", true},
    {"not exactly", "^a{3}$", "aaaa", false},
    {"at least", "^a{2,}$", "aaaaa", true},
    {"at least, and less", "^a{2,}$", "a", false},
    {"between", "^a{1,3}$", "aaa", true},
    {"between, and more", "^a{1,3}$", "aaaa", false},
    {"zero times", "^a{0}b$", "b", true},
    {"a repetition within a repetition", "^(a{2}b){2}$", "aabaab", true},
    {"what would run for ever elsewhere", "^(a*)*(a*)*b$", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
     false},
    {"nothing, again and again", "^()*x$", "x", true},
    {"an empty text", "^$", "", true},
};

static void test_matches(void **state)
{
    struct arena *mem = arena_new(0);
    struct fail fail;

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        const struct grey_pattern *pattern = grey_pattern_parse(mem, str_of(rows[i].pattern), &fail);

        t_case(rows[i].name, NULL);
        t_true(pattern != NULL);
        t_same_int(grey_pattern_matches(pattern, str_of(rows[i].text)), rows[i].want);
    }
    arena_free(&mem);
}

static const struct {
    const char *pattern, *why;
} refused[] = {
    {"", "1 to 512"},
    {"(a", "a ( without its )"},
    {"a)", "a ) without its ("},
    {"[a", "a [ without its ]"},
    {"a\\", "ends with a backslash"},
    {"[\\", "ends with a backslash"},
    {"*a", "a repetition of nothing"},
    {"(|+)", "a repetition of nothing"},
    {"a**", "a repetition of a repetition"},
    {"a*+", "a repetition of a repetition"},
    {"a{", "behind { stands a number"},
    {"a{256}", "behind { stands a number"},
    {"a{1", "a { without its }"},
    {"a{3,2}", "backwards"},
    {"[z-a]", "backwards"},
    {"(?=a)", "only (?: is supported"},
    {"(?i)a", "only (?: is supported"},
    {"(a)\\1", "escape that is not supported"},
    {"\\xe4", "escape that is not supported"},
    {"[\\x]", "escape that is not supported"},
    {"[[:digit:]]", "write \\d"},
    {"((a{255}){255}){255}", "too long when its repetitions"},
    {"[a][b][c][d][e][f][g][h][i][j][k][l][m][n][o][p][q]", "too many sets"},
    {"(((((((((((((((((((((((((((((((((a)))))))))))))))))))))))))))))))))", "too deep"},
};

static void test_refused(void **state)
{
    struct arena *mem = arena_new(0);
    char longest[513];
    struct fail fail;

    (void)state;
    for (size_t i = 0; i < COUNT(refused); i++) {
        t_case(refused[i].pattern, NULL);
        fail.text[0] = '\0';
        t_true(grey_pattern_parse(mem, str_of(refused[i].pattern), &fail) == NULL);
        if (strstr(fail.text, refused[i].why) == NULL)
            t_fail("\"%s\" does not say \"%s\"", fail.text, refused[i].why);
    }
    t_case("an octet too long", NULL);
    memset(longest, 'a', sizeof(longest));
    t_true(grey_pattern_parse(mem, str_make(longest, 513), &fail) == NULL);
    t_true(grey_pattern_parse(mem, str_make(longest, 512), &fail) != NULL);
    arena_free(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matches),
        cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "ignition/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_readable(void **state)
{
	static const struct {
		const char *text;
		bool readable, line, block;
	} rows[] = {
		{"", true, true, false}, {"a", true, true, false}, {"a\n", true, false, true},
		{"a\n\nb\n", true, false, true}, {"a\n\n", true, false, false},
		{" a\n", true, false, false}, {"\ta\n", true, false, false},
		{"\n", true, false, false}, {"a\tb\n", true, false, true},
		{"a\r\n", false, false, false}, {"\x1b[0m\n", false, false, false},
		{"\x7f\n", false, false, false}, {"\xc2\x80", false, false, false}, /* C1 */
		{"\xc2\xa0", true, true, false}, {"\xc3\xa9\n", true, false, true},
		{"\xc3", false, false, false}, {"\xc0\xaf", false, false, false}, /* overlong */
		{"\xe2\x80\xa8", false, false, false}, /* U+2028 */
		{"\xed\xa0\x80", false, false, false}, /* a surrogate */
		{"\xef\xbb\xbf"
		 "a\n",
			false, false, false}, /* byte order mark */
		{"\xf0\x9f\x98\x80\n", true, false, true},
		{"\xf4\x90\x80\x80", false, false, false}, /* above U+10FFFF */
	};

	(void)state;
	for (size_t i = 0; i < FL_COUNT(rows); i++) {
		size_t len = strlen(rows[i].text);

		assert_int_equal(text_is_readable(rows[i].text, len), rows[i].readable);
		assert_int_equal(text_is_line(rows[i].text), rows[i].line);
		assert_int_equal(text_is_block(rows[i].text, len), rows[i].block);
	}
	assert_false(text_is_readable("a\0b", 3));
}

static void expect(struct fl_buf *out, const char *expected)
{
	assert_string_equal(fl_buf_str(out), expected);
	fl_buf_clear(out);
}

/* RFC 4648, section 10. */
static void test_base64(void **state)
{
	static const char *const rows[][2] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="},
		{"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"foobar", "Zm9vYmFy"},
		{"\xfb\xff", "+/8="}};
	FL_CLEANUP_BUF struct fl_buf out = FL_BUF_INIT;

	(void)state;
	for (size_t i = 0; i < FL_COUNT(rows); i++) {
		text_base64(rows[i][0], strlen(rows[i][0]), &out);
		assert_string_equal(fl_buf_str(&out), rows[i][1]);
		out.len = 0;
		if (out.data != NULL)
			out.data[0] = '\0';
	}
}

static void test_words(void **state)
{
	FL_CLEANUP_BUF struct fl_buf out = FL_BUF_INIT;

	(void)state;
	text_data_url("web1\n", 5, &out);
	expect(&out, "data:,web1%0A");
	text_data_url("\xff\xfe", 2, &out);
	expect(&out, "data:,%FF%FE");
	text_data_url("\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8\xf7", 9, &out);
	expect(&out, "data:;base64,//79/Pv6+fj3");
	text_shell_word("", &out);
	expect(&out, "''");
	text_shell_word("/a/b-c.d", &out);
	expect(&out, "/a/b-c.d");
	text_shell_word("it's $HOME", &out);
	expect(&out, "'it'\\''s $HOME'");
	text_yaml_word("a \"b\" \\ \t\n\xc3\xa9", &out);
	expect(&out, "\"a \\\"b\\\" \\\\ \\t\\n\xc3\xa9\"");
	text_indented("a\n\n\tb\n", 6, 4, &out);
	expect(&out, "    a\n\n    \tb\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_readable),
		cmocka_unit_test(test_base64),
		cmocka_unit_test(test_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

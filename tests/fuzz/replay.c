/*
 * Runs a fuzz target over its committed corpus without libFuzzer, in every build: each file of the
 * folders, and each file, that the arguments name. A corpus that is not there or is empty fails.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void die(const char *path)
{
	perror(path);
	exit(1);
}

static size_t replay_file(const char *path, size_t size)
{
	uint8_t *data = malloc(size > 0 ? size : 1);
	FILE *file = fopen(path, "rb");

	if (data == NULL || file == NULL || fread(data, 1, size, file) != size)
		die(path);
	fclose(file);
	/* The last words of a target that aborts. */
	printf("%s\n", path);
	fflush(stdout);
	LLVMFuzzerTestOneInput(data, size);
	free(data);
	return 1;
}

static size_t replay(const char *path)
{
	struct dirent **entries;
	struct stat st;
	size_t n = 0;
	int count;

	if (stat(path, &st) < 0)
		die(path);
	if (!S_ISDIR(st.st_mode))
		return replay_file(path, (size_t)st.st_size);
	count = scandir(path, &entries, NULL, alphasort);
	if (count < 0)
		die(path);
	for (int i = 0; i < count; i++) {
		char *below;

		if (entries[i]->d_name[0] != '.') {
			if (asprintf(&below, "%s/%s", path, entries[i]->d_name) < 0)
				die(path);
			n += replay(below);
			free(below);
		}
		free(entries[i]);
	}
	free(entries);
	return n;
}

int main(int argc, char *argv[])
{
	size_t n = 0;

	for (int i = 1; i < argc; i++)
		n += replay(argv[i]);
	printf("%zu inputs\n", n);
	return n > 0 ? 0 : 1;
}

/* A library that tells where it was loaded: it writes the namespaces of its process
 * into the file NAME.proof beside itself. Any library with a constructor would do. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

__attribute__((constructor)) static void loaded(void) {
	static const char *kinds[] = {"mnt", "pid", "net", "ipc", "uts"};
	char path[4096], text[1024] = "", from[64], to[128];
	Dl_info self;
	if (!dladdr((void *)loaded, &self))
		return;
	for (int i = 0; i < 5; i++) {
		snprintf(from, sizeof from, "/proc/self/ns/%s", kinds[i]);
		ssize_t n = readlink(from, to, sizeof to - 1);
		if (n < 0)
			continue;
		to[n] = 0;
		strcat(strcat(text, to), "\n");
	}
	snprintf(path, sizeof path, "%s.proof", self.dli_fname);
	int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0644);
	if (fd >= 0) {
		if (write(fd, text, strlen(text)) < 0) {}
		close(fd);
	}
}

/*
 * nearcast-gamepad.so shows the gamepads of a seat to its app, which loads it by
 * LD_PRELOAD. An app reads gamepads from /dev/input/eventN, an older one from
 * /dev/input/jsN. In a cell these are sockets that the stream host serves (package
 * gamepad), and this library makes them look like devices:
 *
 *   open    connects to the socket
 *   ioctl   asks the stream host, which knows what the device is and does
 *   stat    says that it is a device
 *   read    says that the device is gone where the stream host has closed it
 *
 * All else works on a socket as on a device: read, poll, select, epoll, write, close,
 * dup, fork. So the library has no state: whether a descriptor is a gamepad, it asks the
 * kernel, and only where a call fails or looks like one of a gamepad.
 *
 * It runs in the app, with the app's rights, and defends nothing.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/input.h>
#include <linux/joystick.h>
#include <poll.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

/* As in packages gamepad and evdev. A gamepad has two devices: that of events, and the older
 * one of joysticks. They are numbered here 0 to 3 and 4 to 7. */
#define PADS 4
static const char *const paths[] = {"/dev/input/event10", "/dev/input/js"}; /* and the number of the gamepad */
static const char *const sockets[] = {"/nearcast-gamepad", "/nearcast-joystick"};
#define REQUEST 0xffff
#define MAX_DATA 1024
#define AXES 8

/* Where the kernel has its own devices of input, and far from its numbers. */
#define INPUT_MAJOR 13
#define FIRST_MINOR 4096

#define PATIENCE_MS 2000

/* real is the function that the app would have called without this library. */
#define REAL(name) ({ static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name); real; })

/* numbered is the number of the device whose name this is: one of two, and a digit. */
static int numbered(const char *name, const char *const names[2])
{
	for (int kind = 0; kind < 2; kind++) {
		size_t n = strlen(names[kind]);
		if (strncmp(name, names[kind], n) == 0 && name[n] >= '0' && name[n] < '0' + PADS && name[n + 1] == 0)
			return PADS * kind + name[n] - '0';
	}
	return -1;
}

/* device_of is the number of the device that a descriptor is, or -1. It leaves errno. */
static int device_of(int fd)
{
	struct sockaddr_un peer;
	socklen_t size = sizeof peer;
	int before = errno, device = -1;
	memset(&peer, 0, sizeof peer);
	if (getpeername(fd, (struct sockaddr *)&peer, &size) == 0 && peer.sun_family == AF_UNIX && size < sizeof peer) {
		const char *name = strrchr(peer.sun_path, '/');
		if (name)
			device = numbered(name, sockets);
	}
	errno = before;
	return device;
}

/* device_at is the number of the device that a path is, or -1. */
static int device_at(const char *path)
{
	return path ? numbered(path, paths) : -1;
}

/* connect_pad opens a gamepad, after the path could not be opened as a file. */
static int connect_pad(const char *path, int flags)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	size_t n = strlen(path);
	if (n >= sizeof to.sun_path) {
		errno = ENXIO;
		return -1;
	}
	memcpy(to.sun_path, path, n + 1);
	int fd = socket(AF_UNIX, SOCK_STREAM | (flags & O_CLOEXEC ? SOCK_CLOEXEC : 0), 0);
	if (fd < 0)
		return -1;
	if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0 || (flags & O_NONBLOCK && fcntl(fd, F_SETFL, O_NONBLOCK) != 0)) {
		close(fd);
		errno = ENODEV;
		return -1;
	}
	return fd;
}

/* A socket cannot be opened: the kernel says ENXIO. */
static int opened(int fd, const char *path, int flags)
{
	return fd < 0 && errno == ENXIO && device_at(path) >= 0 ? connect_pad(path, flags) : fd;
}

#define MODE(flags)                                        \
	mode_t mode = 0;                                   \
	if ((flags) & (O_CREAT | O_TMPFILE)) {             \
		va_list args;                              \
		va_start(args, flags);                     \
		mode = va_arg(args, mode_t);               \
		va_end(args);                              \
	}

EXPORT int open(const char *path, int flags, ...)
{
	MODE(flags)
	return opened(REAL(open)(path, flags, mode), path, flags);
}

EXPORT int open64(const char *path, int flags, ...)
{
	MODE(flags)
	return opened(REAL(open64)(path, flags, mode), path, flags);
}

EXPORT int openat(int dir, const char *path, int flags, ...)
{
	MODE(flags)
	return opened(REAL(openat)(dir, path, flags, mode), path, flags);
}

EXPORT int openat64(int dir, const char *path, int flags, ...)
{
	MODE(flags)
	return opened(REAL(openat64)(dir, path, flags, mode), path, flags);
}

/* Programs that were built with _FORTIFY_SOURCE call these. */
EXPORT int __open_2(const char *path, int flags) { return open(path, flags); }
EXPORT int __open64_2(const char *path, int flags) { return open64(path, flags); }
EXPORT int __openat_2(int dir, const char *path, int flags) { return openat(dir, path, flags); }
EXPORT int __openat64_2(int dir, const char *path, int flags) { return openat64(dir, path, flags); }

/* SDL knows devices by st_rdev. */
#define SHOW(st, device)                                              \
	do {                                                       \
		(st)->st_mode = ((st)->st_mode & ~S_IFMT) | S_IFCHR; \
		(st)->st_rdev = makedev(INPUT_MAJOR, FIRST_MINOR + (device)); \
	} while (0)

#define STAT(name, type)                                                   \
	EXPORT int name(const char *path, struct type *st)                 \
	{                                                                  \
		int device, result = REAL(name)(path, st);                 \
		if (result == 0 && S_ISSOCK(st->st_mode) && (device = device_at(path)) >= 0) \
			SHOW(st, device);                                  \
		return result;                                             \
	}
#define FSTAT(name, type)                                                  \
	EXPORT int name(int fd, struct type *st)                           \
	{                                                                  \
		int device, result = REAL(name)(fd, st);                   \
		if (result == 0 && S_ISSOCK(st->st_mode) && (device = device_of(fd)) >= 0) \
			SHOW(st, device);                                  \
		return result;                                             \
	}
STAT(stat, stat)
STAT(stat64, stat64)
FSTAT(fstat, stat)
FSTAT(fstat64, stat64)

/* Programs that were built before glibc 2.33 call these. The version is 0 or 1, and the
 * structure is the same in both, on the 64-bit architectures that this is built for. */
EXPORT int __xstat(int version, const char *path, struct stat *st) { (void)version; return stat(path, st); }
EXPORT int __xstat64(int version, const char *path, struct stat64 *st) { (void)version; return stat64(path, st); }
EXPORT int __fxstat(int version, int fd, struct stat *st) { (void)version; return fstat(fd, st); }
EXPORT int __fxstat64(int version, int fd, struct stat64 *st) { (void)version; return fstat64(fd, st); }

static ssize_t got(ssize_t n, int fd, size_t size)
{
	if (n == 0 && size > 0 && device_of(fd) >= 0) {
		errno = ENODEV;
		return -1;
	}
	return n;
}

EXPORT ssize_t read(int fd, void *data, size_t size)
{
	return got(REAL(read)(fd, data, size), fd, size);
}

extern ssize_t __read_chk(int fd, void *data, size_t size, size_t room);
EXPORT ssize_t __read_chk(int fd, void *data, size_t size, size_t room)
{
	return got(REAL(__read_chk)(fd, data, size, room), fd, size);
}

/* ask has the stream host carry out an ioctl. It sends one end of a pair of sockets, on
 * which the answer comes, so that it is not among the events that the app reads. */
static int ask(int fd, unsigned long request, void *arg)
{
	struct {
		struct input_event head;
		unsigned char data[MAX_DATA];
	} question;
	struct {
		int32_t result;
		unsigned char data[MAX_DATA];
	} answer;
	size_t size = _IOC_SIZE(request), sent = 0;
	memset(&question.head, 0, sizeof question.head);
	if (_IOC_DIR(request) & _IOC_WRITE && size <= MAX_DATA) {
		switch (_IOC_NR(request)) {
		case _IOC_NR(EVIOCRMFF): case _IOC_NR(EVIOCGRAB): case _IOC_NR(EVIOCREVOKE): {
			int value = (int)(intptr_t)arg; /* these have no pointer */
			memcpy(question.data, &value, sent = sizeof value);
			arg = NULL;
			break;
		}
		default:
			if (!arg) {
				errno = EFAULT;
				return -1;
			}
			memcpy(question.data, arg, sent = size);
		}
	}
	question.head.input_event_sec = (long)(request & 0xffffffff);
	question.head.type = REQUEST;
	question.head.code = (unsigned short)sent;

	int pair[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		return -1;
	struct iovec part = {&question, offsetof(__typeof__(question), data) + sent};
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} rights;
	memset(&rights, 0, sizeof rights);
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &rights, .msg_controllen = sizeof rights};
	rights.head.cmsg_level = SOL_SOCKET;
	rights.head.cmsg_type = SCM_RIGHTS;
	rights.head.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&rights.head), &pair[1], sizeof(int));
	ssize_t n = sendmsg(fd, &message, MSG_NOSIGNAL);
	close(pair[1]);
	if (n == (ssize_t)part.iov_len) {
		struct pollfd wait = {.fd = pair[0], .events = POLLIN};
		n = poll(&wait, 1, PATIENCE_MS) == 1 ? recv(pair[0], &answer, sizeof answer, 0) : -1;
	} else {
		n = -1;
	}
	close(pair[0]);
	if (n < (ssize_t)sizeof answer.result) {
		errno = ENODEV;
		return -1;
	}
	if (answer.result < 0) {
		errno = -answer.result;
		return -1;
	}
	n -= sizeof answer.result;
	if ((request & 0xffffffff) == JSIOCGCORR)
		size = AXES * sizeof(struct js_corr); /* the request has the size of one, and all are written */
	if (arg && n > 0)
		memcpy(arg, answer.data, (size_t)n < size ? (size_t)n : size);
	return answer.result;
}

EXPORT int ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	va_start(args, request);
	void *arg = va_arg(args, void *);
	va_end(args);
	if ((_IOC_TYPE(request) == 'E' || _IOC_TYPE(request) == 'j') && device_of(fd) >= 0)
		return ask(fd, request, arg);
	return REAL(ioctl)(fd, request, arg);
}

package capture

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/seat/sound"
)

// Two users that have no account, as a seat's have.
const (
	appUser    = 65533
	streamUser = 65532
)

// openFor makes the directories of a test passable for other users.
func openFor(t *testing.T, dir string) {
	t.Helper()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		testkit.Must(t, os.Chmod(d, 0o755))
	}
}

// TestSoundServerOfAnotherUser has the server run as the app's user, and the
// capture as another, which has no way to the server's directory: only a
// descriptor of the socket, and the cookie. PulseAudio makes its socket with mode
// 0777, and admits its own user, or who knows the cookie.
func TestSoundServerOfAnotherUser(t *testing.T) {
	if os.Getenv("NEARCAST_TEST_SOCKET") != "" {
		captureByDescriptor(t)
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root, to run programs as two users")
	}
	needs(t, "pulseaudio", "gst-launch-1.0")
	dir, cookie := filepath.Join(t.TempDir(), "s"), make([]byte, 256)
	rand.Read(cookie)
	openFor(t, filepath.Dir(dir))
	testkit.Must(t, os.Mkdir(dir, 0o700))
	testkit.Must(t, os.WriteFile(filepath.Join(dir, "cookie"), cookie, 0o600))
	for _, path := range []string{dir, filepath.Join(dir, "cookie")} {
		testkit.Must(t, os.Chown(path, appUser, appUser))
	}
	socket := filepath.Join(dir, "native")
	as := func(uid uint32, cmd *exec.Cmd) *exec.Cmd {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: credential(uid)}
		cmd.Dir = "/"
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "PULSE_RUNTIME_PATH=" + dir, "PULSE_STATE_PATH=" + dir}
		return cmd
	}
	testkit.Start(t, as(appUser, exec.Command("pulseaudio", "-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1",
		"--high-priority=no", "--realtime=no", "--disallow-module-loading=yes", "--disable-shm=yes", "--log-target=stderr", "--log-level=error",
		"--load=module-null-sink sink_name=nearcast rate=48000 channels=2 format=s16le",
		"--load=module-native-protocol-unix auth-anonymous=0 auth-cookie-enabled=1 auth-cookie="+filepath.Join(dir, "cookie")+" socket="+socket)))
	testkit.Until(t, "the sound server listens", func() bool {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o777 {
		t.Errorf("the socket is %v, %v", info.Mode(), err)
	}
	tone := as(appUser, exec.Command("gst-launch-1.0", "-q", "audiotestsrc", "is-live=true", "!", "pulsesink", "server=unix:"+socket, "device=nearcast"))
	tone.Env = append(tone.Env, "PULSE_COOKIE=/dev/null") // its uid is enough
	testkit.Start(t, tone)

	fd, err := unix.Open(socket, unix.O_PATH|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	testkit.Must(t, err)
	file := os.NewFile(uintptr(fd), socket)
	defer file.Close()
	home := t.TempDir()
	openFor(t, home)
	testkit.Must(t, os.Chown(home, streamUser, streamUser))
	child := as(streamUser, exec.CommandContext(testkit.Context(t, 2*time.Minute), "/proc/self/exe", "-test.run=^TestSoundServerOfAnotherUser$", "-test.v"))
	child.ExtraFiles = []*os.File{file}
	child.Stdin = bytes.NewReader(cookie)
	child.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "NEARCAST_TEST_SOCKET=" + socket}
	out, err := child.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("PASS")) {
		t.Errorf("the capture as another user: %v\n%s", err, out)
	}
}

func credential(uid uint32) *syscall.Credential { return &syscall.Credential{Uid: uid, Gid: uid} }

// captureByDescriptor runs as the user of the stream host. Descriptor 3 is the
// socket, standard input the cookie.
func captureByDescriptor(t *testing.T) {
	if uid := os.Geteuid(); uid != streamUser {
		t.Fatalf("the user is %d", uid)
	}
	path := os.Getenv("NEARCAST_TEST_SOCKET")
	if conn, err := net.Dial("unix", path); !errors.Is(err, unix.EACCES) {
		t.Errorf("the path of the socket: %v, %v", conn, err)
	}
	cookie, err := io.ReadAll(os.Stdin)
	testkit.Must(t, err)
	memory := func(content []byte) string {
		fd, err := unix.MemfdCreate("cookie", unix.MFD_CLOEXEC)
		testkit.Must(t, err)
		file := os.NewFile(uintptr(fd), "cookie")
		t.Cleanup(func() { file.Close() })
		_, err = file.Write(content)
		testkit.Must(t, err)
		return fmt.Sprintf("/proc/self/fd/%d", fd)
	}
	packets := make(chan Frame, 1000)
	cfg := AudioConfig{PulseServer: "unix:/proc/self/fd/3", Source: sound.Source, OnFrame: func(f Frame) {
		select {
		case packets <- f:
		default:
		}
	}}
	for name, wrong := range map[string]string{"no": "/nonexistent/cookie", "a wrong": memory(make([]byte, 256))} {
		cfg.Cookie = wrong
		if a, err := StartAudio(t.Context(), cfg); err == nil {
			a.Close()
			t.Errorf("%s cookie was accepted", name)
		}
	}
	cfg.Cookie = memory(cookie)
	a, err := StartAudio(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	testkit.Until(t, "the tone is captured", func() bool {
		var some [][]byte
		for range 50 {
			some = append(some, next(t, packets, "packet", anyFrame).Data)
		}
		return decodeOpus(t, some) > 1000
	})
}

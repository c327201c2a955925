package seccomp

import (
	"bytes"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/seat/cell/seccomp/policy"
)

// TestGenerated compares the programs with what the modules give today.
func TestGenerated(t *testing.T) {
	files, err := policy.Render()
	testkit.Must(t, err)
	for name, want := range files {
		got, err := os.ReadFile(name)
		testkit.Must(t, err)
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what package policy makes: run go generate ./seat/cell/seccomp, and read what changed in testdata", name)
		}
	}
}

// TestInstallNeedsAProgram hands over what the kernel would not take.
func TestInstallNeedsAProgram(t *testing.T) {
	if err := Install(nil); err == nil {
		t.Error("an empty filter was installed")
	}
	if err := Install(make([]unix.SockFilter, unix.BPF_MAXINSNS+1)); err == nil {
		t.Error("a filter that is too long was installed")
	}
}

func BenchmarkFilter(b *testing.B) {
	for b.Loop() {
		Filter(Options{I386: true})
	}
}

// BenchmarkInstall is what a start pays. Each filter is a thread's that then ends, so
// that none runs behind another.
func BenchmarkInstall(b *testing.B) {
	for name, o := range map[string]Options{"64 bits": {}, "32 bits too": {I386: true}} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				done := make(chan error)
				go func() {
					runtime.LockOSThread()
					done <- Install(Filter(o))
				}()
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("none", func(b *testing.B) { // what the thread itself costs
		for b.Loop() {
			done := make(chan error)
			go func() {
				runtime.LockOSThread()
				done <- unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
			}()
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkCall is what each system call pays, where its arguments do not matter and
// where they do.
func BenchmarkCall(b *testing.B) {
	for _, filtered := range []string{"without", "with"} {
		for name, do := range map[string]func(){
			"getpid": func() { unix.RawSyscall(unix.SYS_GETPID, 0, 0, 0) },
			"ioctl":  func() { unix.RawSyscall(unix.SYS_IOCTL, ^uintptr(0), unix.TCGETS, 0) },
		} {
			b.Run(name+" "+filtered, func(b *testing.B) {
				done := make(chan error)
				go func() {
					runtime.LockOSThread()
					if filtered == "with" {
						if err := Install(Filter(Options{I386: true})); err != nil {
							done <- err
							return
						}
					}
					for b.Loop() {
						do()
					}
					done <- nil
				}()
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}

// TestGoListens tries what Go's own library does first with a protocol that is
// refused: it listens by MPTCP, and takes TCP where that fails.
func TestGoListens(t *testing.T) {
	self, err := os.Executable()
	testkit.Must(t, err)
	testkit.Must(t, under{}.command(t, self, listenArg).Run())
}

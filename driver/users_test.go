package driver

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// testUsers are ids that nobody else has: the driver's default range may be in use.
var testUsers = userRange{min: 1_720_000_000, seats: 4}

// holdUsers writes the spec by which a seat holds its ids.
func holdUsers(t testing.TB, runDir, name, app, host string) {
	t.Helper()
	dir := filepath.Join(runDir, name)
	testkit.Must(t, os.MkdirAll(dir, 0o700))
	b, err := json.Marshal(wire.Spec{User: app, HostUser: host})
	testkit.Must(t, err)
	testkit.Must(t, os.WriteFile(filepath.Join(dir, wire.SpecFile), b, 0o600))
}

func takeUsers(t testing.TB, r userRange, runDir string) seatUsers {
	t.Helper()
	u, release, err := r.take(runDir)
	testkit.Must(t, err)
	release()
	return u
}

// beginAt returns a run directory whose next seat has this number.
func beginAt(t testing.TB, seat int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	testkit.Must(t, os.WriteFile(filepath.Join(dir, usersFile), []byte(fmt.Sprint(seat)), 0o600))
	return dir
}

func TestUsersRotate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	first := takeUsers(t, testUsers, dir).app - testUsers.min
	for i := range 9 {
		n := (first + 1 + i) % testUsers.seats
		want := seatUsers{app: testUsers.min + n, host: testUsers.min + testUsers.seats + n}
		if u := takeUsers(t, testUsers, dir); u != want {
			t.Errorf("seat %d gets %v, want %v", i, u, want)
		}
	}
	// The range became smaller.
	if u := takeUsers(t, testUsers, beginAt(t, 1000)); u != testUsers.seat(0) {
		t.Errorf("beyond the range: %v", u)
	}
}

// TestUsersOfTwoAgents: agents of one machine that do not see each other's run directories, nor perhaps
// each other's processes, do not begin with the same ids.
func TestUsersOfTwoAgents(t *testing.T) {
	r := userRange{min: testUsers.min, seats: 10_000}
	for _, text := range []string{"", "x", "-5"} {
		seen := map[seatUsers]bool{}
		for range 5 {
			dir := t.TempDir()
			testkit.Must(t, os.WriteFile(filepath.Join(dir, usersFile), []byte(text), 0o600))
			seen[takeUsers(t, r, dir)] = true
		}
		if len(seen) < 4 {
			t.Errorf("after %q five agents begin with %v", text, seen)
		}
	}
}

// TestUsersOfSeats: the ids of a run directory are skipped, and when all are taken there
// is an error that names the option.
func TestUsersOfSeats(t *testing.T) {
	dir := beginAt(t, 0)
	testkit.Must(t, os.Mkdir(filepath.Join(dir, "without spec"), 0o700))
	for want := range testUsers.seats {
		u := takeUsers(t, testUsers, dir)
		if u != testUsers.seat(want) {
			t.Errorf("%v, want %v", u, testUsers.seat(want))
		}
		app := u.text(u.app)
		if want == 1 {
			app = "nobody" // the job names another: the stream host's id is enough
		}
		holdUsers(t, dir, fmt.Sprint("seat", want), app, u.text(u.host))
	}
	if _, _, err := testUsers.take(dir); !errors.Is(err, errNoUsers) || !strings.Contains(err.Error(), "users.min") {
		t.Errorf("no id is left: %v", err)
	}
	// The error lets the next one in.
	testkit.Must(t, os.RemoveAll(filepath.Join(dir, "seat2")))
	if u := takeUsers(t, testUsers, dir); u != testUsers.seat(2) {
		t.Errorf("after the end of a seat: %v", u)
	}
	// A spec that cannot be read may hold any id.
	testkit.Must(t, os.WriteFile(filepath.Join(dir, "seat1", wire.SpecFile), []byte("{"), 0o600))
	if u, _, err := testUsers.take(dir); err == nil {
		t.Errorf("with a broken spec: %v", u)
	}
}

// TestUsersOfProcesses: an id is not given to a seat while a process of it lives.
func TestUsersOfProcesses(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("to run a process as another user needs root")
	}
	for _, id := range []int{testUsers.seat(0).app, testUsers.seat(0).host} {
		cmd := exec.Command("/bin/sleep", "1000")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(id), Gid: uint32(id)}}
		p := testkit.Start(t, cmd)
		if u := takeUsers(t, testUsers, beginAt(t, 0)); u != testUsers.seat(1) {
			t.Errorf("id %d is in use: %v", id, u)
		}
		p.Kill()
		if u := takeUsers(t, testUsers, beginAt(t, 0)); u != testUsers.seat(0) {
			t.Errorf("id %d is free: %v", id, u)
		}
	}
}

const takeUsersEnv = "DRIVER_TEST_TAKE_USERS"

// TestUsersTakenTwice: several processes, as the old and the new plugin, start seats at
// the same time.
func TestUsersTakenTwice(t *testing.T) {
	r := userRange{min: testUsers.min, seats: 100}
	if dir := os.Getenv(takeUsersEnv); dir != "" {
		for range 10 {
			u, release, err := r.take(dir)
			testkit.Must(t, err)
			name := fmt.Sprint(u.app)
			if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
				t.Errorf("given twice: %v", err)
			}
			holdUsers(t, dir, name, u.text(u.app), u.text(u.host))
			// So that only what a seat holds keeps its id from being given again.
			testkit.Must(t, os.WriteFile(filepath.Join(dir, usersFile), []byte("0"), 0o600))
			release()
		}
		return
	}
	dir := beginAt(t, 0)
	var all []*exec.Cmd
	for range 3 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestUsersTakenTwice$", "-test.v")
		cmd.Env = append(os.Environ(), takeUsersEnv+"="+dir)
		cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
		testkit.Must(t, cmd.Start())
		all = append(all, cmd)
	}
	for _, cmd := range all {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	seats, err := filepath.Glob(filepath.Join(dir, "*", wire.SpecFile))
	if err != nil || len(seats) != 30 {
		t.Errorf("%d seats, %v", len(seats), err)
	}
}

// TestUsersLock: nobody gets ids between take and release.
func TestUsersLock(t *testing.T) {
	dir := t.TempDir()
	_, release, err := testUsers.take(dir)
	testkit.Must(t, err)
	free := func() bool {
		f, err := os.Open(filepath.Join(dir, usersFile))
		testkit.Must(t, err)
		defer f.Close()
		return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
	}
	if free() {
		t.Error("free before release")
	}
	release()
	if !free() {
		t.Error("locked after release")
	}
	if _, _, err := testUsers.take("/proc/nowhere"); err == nil {
		t.Error("no error for a directory that cannot be made")
	}
}

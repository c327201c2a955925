package driver

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// A userRange is the user ids that seats get. The n-th seat of it has the n-th id of the
// first half for its app and the n-th of the second half for its stream host. Each is
// its group's id too.
type userRange struct{ min, seats int }

// minUser is the lowest id that a seat can get. Those below are the system's.
const minUser = 1000

func (c *Config) userRange() (userRange, error) {
	low, err := whole("users.min", c.Users.Min, minUser, 1<<31-2)
	if err != nil {
		return userRange{}, err
	}
	high, err := whole("users.max", c.Users.Max, minUser, 1<<31-2)
	if err != nil {
		return userRange{}, err
	}
	if n := high - low + 1; n < 2 || n%2 != 0 {
		return userRange{}, &badValue{"users.max", high, "above users.min, for an even number of ids: two for each seat"}
	}
	return userRange{min: low, seats: (high - low + 1) / 2}, nil
}

// seatUsers are the ids of one seat.
type seatUsers struct{ app, host int }

func (r userRange) seat(n int) seatUsers {
	return seatUsers{app: r.min + n, host: r.min + r.seats + n}
}

func (u seatUsers) text(id int) string { return fmt.Sprintf("%d:%d", id, id) }

// usersFile in the run directory is locked while ids are given out. It holds the number
// of the next seat, so that an id is used again as late as possible: a volume may still
// have files of its last owner. The first number is random: agents that share a machine, one
// in a container perhaps, share the ids too, and a seat's end ends all processes of its ids.
const usersFile = ".users"

var errNoUsers = errors.New("no user id is left for a seat: every one of users.min to users.max is in use")

// take finds the ids of no live seat. They are the caller's once a spec in the run
// directory names them; until release nobody else gets any.
func (r userRange) take(runDir string) (u seatUsers, release func(), err error) {
	if err := os.MkdirAll(runDir, 0o700); err != nil {
		return u, nil, fmt.Errorf("make run_dir: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(runDir, usersFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return u, nil, fmt.Errorf("give users to a seat: %w", err)
	}
	defer func() {
		if err != nil {
			lock.Close()
		}
	}()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return u, nil, fmt.Errorf("give users to a seat: %w", err)
	}
	busy, err := busyUsers(runDir)
	if err != nil {
		return u, nil, err
	}
	var text [32]byte
	n, _ := lock.ReadAt(text[:], 0)
	next, err := strconv.Atoi(strings.TrimSpace(string(text[:n])))
	if err != nil || next < 0 {
		next = rand.IntN(r.seats)
	}
	for i := range r.seats {
		seat := (next + i) % r.seats
		if u = r.seat(seat); busy[u.app] || busy[u.host] {
			continue
		}
		if _, err := lock.WriteAt([]byte(fmt.Sprintf("%-10d\n", seat+1)), 0); err != nil {
			return u, nil, fmt.Errorf("give users to a seat: %w", err)
		}
		return u, func() { lock.Close() }, nil
	}
	return u, nil, errNoUsers
}

// busyUsers are the ids of all seats in the run directory, and of all processes.
func busyUsers(runDir string) (map[int]bool, error) {
	busy := map[int]bool{}
	names, err := os.ReadDir(runDir)
	if err != nil {
		return nil, fmt.Errorf("list seats: %w", err)
	}
	for _, name := range names {
		spec, err := readSpec(filepath.Join(runDir, name.Name()))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, text := range []string{spec.User, spec.HostUser} {
			id, _, _ := strings.Cut(text, ":")
			if uid, err := strconv.Atoi(id); err == nil {
				busy[uid] = true
			}
		}
	}
	all, err := procfs.AllProcs()
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	for _, p := range all {
		if status, err := p.NewStatus(); err == nil {
			for _, uid := range status.UIDs {
				busy[int(uid)] = true
			}
		}
	}
	return busy, nil
}

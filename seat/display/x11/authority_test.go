package x11

import (
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const (
	seven = "00112233445566778899aabbccddeeff"
	eight = "0123456789abcdef0123456789abcdef"
)

func cookie(t testing.TB, text string) Cookie {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return Cookie(b)
}

// byXauth is a file that xauth wrote: display :7 of a network, then of the
// computer "vm", then :8 of it.
var byXauth = unhex("0000" + "0004c0000201" + "000137" + "0012" + hexName + "0010" + strings.Repeat("ff", 16) +
	"0100" + "0002766d" + "000137" + "0012" + hexName + "0010" + seven +
	"0100" + "0002766d" + "000138" + "0012" + hexName + "0010" + eight)

var hexName = hex.EncodeToString([]byte(cookieName))

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func TestFindCookie(t *testing.T) {
	entry := func(family uint16, number, name, data string) []byte {
		return appendEntry(nil, family, "vm", number, name, []byte(data))
	}
	good := strings.Repeat("g", cookieSize)
	for name, c := range map[string]struct {
		file   []byte
		number int
		want   string // the cookie in hex, or a part of the error
	}{
		"by xauth":              {byXauth, 7, seven},
		"by xauth, the next":    {byXauth, 8, eight},
		"by xauth, not there":   {byXauth, 9, "no cookie for display :9"},
		"empty":                 {nil, 7, "no cookie for display :7"},
		"any display":           {entry(familyWild, "", cookieName, good), 7, hex.EncodeToString([]byte(good))},
		"another display":       {entry(familyWild, "71", cookieName, good), 7, "no cookie"},
		"zeros before a number": {entry(familyWild, "07", cookieName, good), 7, "no cookie"},
		"another scheme":        {entry(familyWild, "7", "XDM-AUTHORIZATION-1", good), 7, "no cookie"},
		"an empty cookie":       {entry(familyWild, "7", cookieName, ""), 7, "no cookie"},
		"a short cookie":        {entry(familyWild, "7", cookieName, good[1:]), 7, "no cookie"},
		"a long cookie":         {entry(familyWild, "7", cookieName, good+"g"), 7, "no cookie"},
		"a family of networks":  {entry(6, "7", cookieName, good), 7, "no cookie"},
		"a bad one, then a good one": {append(entry(familyWild, "7", cookieName, "short"), entry(familyLocal, "7", cookieName, good)...), 7,
			hex.EncodeToString([]byte(good))},
		"half a family":  {[]byte{1}, 7, "cut short"},
		"only a family":  {[]byte{1, 0}, 7, "cut short"},
		"huge lengths":   {[]byte("\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff"), 7, "cut short"},
		"text":           {[]byte("MIT-MAGIC-COOKIE-1 0123\n"), 7, "cut short"},
		"a good one cut": {entry(familyWild, "7", cookieName, good)[:30], 7, "cut short"},
	} {
		got, err := findCookie(c.file, c.number)
		if said := fmt.Sprintf("%x %v", got[:], err); !strings.Contains(said, c.want) || (err == nil) != (len(c.want) == 2*cookieSize) {
			t.Errorf("%s: got %s, want %s", name, said, c.want)
		}
	}
	for n := range byXauth {
		if got, err := findCookie(byXauth[:n], 8); err == nil {
			t.Errorf("of the first %d bytes only, it found %x", n, got)
		}
	}
}

func FuzzFindCookie(f *testing.F) {
	f.Add(byXauth, 7)
	f.Add(appendEntry(nil, familyWild, "", "", cookieName, make([]byte, cookieSize)), 1000)
	f.Add([]byte("\x01\x00\xff\xff\xff\xff"), 0)
	f.Fuzz(func(t *testing.T, file []byte, number int) {
		before := string(file)
		c, err := findCookie(file, number)
		if err == nil && !strings.Contains(before, cookieName+"\x00\x10"+string(c[:])) {
			t.Errorf("%x is not a cookie in %q", c, before)
		}
	})
}

func TestAuthorityIsReadBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "Xauthority")
	want := NewCookie()
	// What is there already is replaced, not written through.
	other := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(other, []byte("other"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(other, path); err != nil {
		t.Fatal(err)
	}
	if err := WriteAuthority(path, want, os.Getuid(), os.Getgid()); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(other); err != nil || string(b) != "other" {
		t.Errorf("the link's target is now %q, %v", b, err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o600 {
		t.Errorf("the file's mode is %v", info.Mode())
	}
	for _, number := range []int{0, 7, 58_999} {
		if got, err := ReadAuthority(path, number); err != nil || got != want {
			t.Errorf("display %d: got %x, %v", number, got, err)
		}
	}
}

// TestXauth reads what xauth writes, and has it read what is written here.
func TestXauth(t *testing.T) {
	if _, err := exec.LookPath("xauth"); err != nil {
		t.Skip("xauth is not installed (Debian's package is xauth)")
	}
	path := filepath.Join(t.TempDir(), "Xauthority")
	xauth := func(args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "xauth", append([]string{"-q", "-f", path}, args...)...).Output()
		if err != nil {
			t.Fatalf("xauth %q: %v", args, err)
		}
		return string(out)
	}
	xauth("add", "192.0.2.1:7", ".", strings.Repeat("ff", 16))
	xauth("add", ":7", ".", seven)
	xauth("add", ":8", ".", eight)
	for number, want := range map[int]string{7: seven, 8: eight} {
		if got, err := ReadAuthority(path, number); err != nil || got != cookie(t, want) {
			t.Errorf("display %d: got %x, %v; want %s", number, got, err, want)
		}
	}
	if err := WriteAuthority(path, cookie(t, seven), os.Getuid(), os.Getgid()); err != nil {
		t.Fatal(err)
	}
	if got := xauth("list"); !strings.Contains(got, cookieName+"  "+seven) {
		t.Errorf("xauth lists %q", got)
	}
}

// TestNoCookieFile puts at the path what an application could put there.
func TestNoCookieFile(t *testing.T) {
	dir := t.TempDir()
	pipe, huge := filepath.Join(dir, "pipe"), filepath.Join(dir, "huge")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(huge, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(huge, 1<<40); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, huge, dir, filepath.Join(dir, "missing"), "/dev/zero"} {
		if got, err := ReadAuthority(path, 7); err == nil {
			t.Errorf("%s: got %x", path, got)
		}
	}
}

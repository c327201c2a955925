package unixuser

import (
	"os"
	"os/user"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestLookup(t *testing.T) {
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Skip(err)
	}
	uid, _ := strconv.Atoi(nobody.Uid)
	gid, _ := strconv.Atoi(nobody.Gid)
	group, err := user.LookupGroupId(nobody.Gid)
	if err != nil {
		t.Skip(err)
	}
	account := User{Name: "nobody", UID: uid, GID: gid, Groups: []int{gid}}
	for text, want := range map[string]User{
		"nobody":               account,
		nobody.Uid:             account,
		"nobody:" + group.Name: account,
		"nobody:5":             {Name: "nobody", UID: uid, GID: 5, Groups: []int{5}},
		"1234:" + group.Name:   {UID: 1234, GID: gid, Groups: []int{gid}},
		"1234:5678":            {UID: 1234, GID: 5678, Groups: []int{5678}},
		"0:0":                  {Groups: []int{0}},
	} {
		if got, err := Lookup(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		}
	}
}

func TestLookupOfOwnUser(t *testing.T) {
	u, err := Lookup("")
	if err != nil || u.UID != os.Geteuid() || u.GID != os.Getegid() || !slices.Contains(u.Groups, u.GID) {
		t.Errorf("got %+v, %v", u, err)
	}
}

// Each error names the whole text, and says what is missing on the node or what
// to write instead.
func TestLookupRefuses(t *testing.T) {
	for text, say := range map[string]string{
		"no-such-user":     `user "no-such-user": there is no account "no-such-user" on this node`,
		"4242424":          "write uid:gid",
		"no-such-user:0":   `no account "no-such-user"`,
		"nobody:no-such-g": `no group "no-such-g"`,
		"1:no-such-g":      `no group "no-such-g"`,
		"-1":               `no account "-1"`,
		"1:-1":             `no group "-1"`,
		"a:b:c":            Grammar,
		"nobody:":          Grammar,
		":1":               Grammar,
		" nobody":          Grammar,
		"no\x00body":       Grammar,
		"4294967295":       Grammar,
		"1:4294967295":     Grammar,
	} {
		got, err := Lookup(text)
		if err == nil || !strings.Contains(err.Error(), say) || !reflect.DeepEqual(got, User{}) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
		if Valid(text) == (say == Grammar) {
			t.Errorf("Valid(%q) = %v", text, Valid(text))
		}
	}
}

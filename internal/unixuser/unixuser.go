// Package unixuser is the one grammar in which jobs and operators name a Unix user,
// and finds that user on this node.
//
//	u, err := unixuser.Lookup("nobody:nogroup")
//	// u.Name, u.UID, u.GID, u.Groups = "nobody", 65534, 65534, [65534]
//
// The text is USER or USER:GROUP. A part of only digits is an id, any other a name:
//
//	nobody            the account, with its groups
//	65534             the account with this uid, with its groups
//	nobody:nogroup    the account, in this one group
//	1000:1000         needs no account and no group on the node
//
// A uid without a group needs an account, because the account gives the group.
// Seat-keeper looks users up. It is a static binary, so accounts are those of
// /etc/passwd and /etc/group: no directory service is asked.
package unixuser

import (
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Grammar lists the forms that are valid, for an error after "must be".
const Grammar = `"name", "uid", "name:group" or "uid:gid"`

// User is who a process runs as.
type User struct {
	Name   string // of the account; empty where none was looked up
	UID    int
	GID    int
	Groups []int // with GID
}

// Valid reports whether text has a form of the grammar. The user need not exist.
func Valid(text string) bool {
	userPart, groupPart, hasGroup := strings.Cut(text, ":")
	return validPart(userPart) && (!hasGroup || validPart(groupPart))
}

func validPart(part string) bool {
	if part == "" || strings.TrimSpace(part) != part || strings.ContainsFunc(part, func(r rune) bool { return r == ':' || unicode.IsControl(r) }) {
		return false
	}
	_, isID, err := id(part)
	return !isID || err == nil
}

// id reads a part of only digits. It refuses ids above 2^31-1: system calls take the
// largest one for "no change".
func id(part string) (n int, isID bool, err error) {
	if strings.Trim(part, "0123456789") != "" {
		return 0, false, nil
	}
	v, err := strconv.ParseUint(part, 10, 31)
	return int(v), true, err
}

// Lookup finds the user that text names. Empty text is the user of this process. The
// error is a text for the author of the job.
func Lookup(text string) (User, error) {
	if text == "" {
		return current()
	}
	if !Valid(text) {
		return User{}, fmt.Errorf("user %q: must be %s", text, Grammar)
	}
	userPart, groupPart, hasGroup := strings.Cut(text, ":")
	if !hasGroup {
		a, err := account(text, userPart)
		if err != nil {
			return User{}, err
		}
		return withAllGroups(a)
	}
	gid, err := groupID(text, groupPart)
	if err != nil {
		return User{}, err
	}
	if uid, isID, _ := id(userPart); isID {
		return User{UID: uid, GID: gid, Groups: []int{gid}}, nil
	}
	a, err := account(text, userPart)
	if err != nil {
		return User{}, err
	}
	u, err := fromAccount(a)
	if err != nil {
		return User{}, err
	}
	u.GID, u.Groups = gid, []int{gid}
	return u, nil
}

func account(text, part string) (*user.User, error) {
	if _, isID, _ := id(part); isID {
		a, err := user.LookupId(part)
		if err != nil {
			return nil, fmt.Errorf("user %q: no account on this node has this uid; write uid:gid, which needs none", text)
		}
		return a, nil
	}
	a, err := user.Lookup(part)
	if err != nil {
		return nil, fmt.Errorf("user %q: there is no account %q on this node", text, part)
	}
	return a, nil
}

func groupID(text, part string) (int, error) {
	if gid, isGID, _ := id(part); isGID {
		return gid, nil
	}
	g, err := user.LookupGroup(part)
	if err != nil {
		return 0, fmt.Errorf("user %q: there is no group %q on this node", text, part)
	}
	gid, err := strconv.Atoi(g.Gid)
	if err != nil {
		return 0, fmt.Errorf("user %q: group %q has gid %q", text, part, g.Gid)
	}
	return gid, nil
}

// fromAccount is an account without its groups.
func fromAccount(a *user.User) (User, error) {
	uid, err := strconv.Atoi(a.Uid)
	if err != nil {
		return User{}, fmt.Errorf("account %q has uid %q", a.Username, a.Uid)
	}
	gid, err := strconv.Atoi(a.Gid)
	if err != nil {
		return User{}, fmt.Errorf("account %q has gid %q", a.Username, a.Gid)
	}
	return User{Name: a.Username, UID: uid, GID: gid}, nil
}

func withAllGroups(a *user.User) (User, error) {
	u, err := fromAccount(a)
	if err != nil {
		return User{}, err
	}
	groups, err := a.GroupIds()
	if err != nil {
		return User{}, fmt.Errorf("list groups of account %q: %w", a.Username, err)
	}
	for _, g := range groups {
		if n, err := strconv.Atoi(g); err == nil {
			u.Groups = append(u.Groups, n)
		}
	}
	if !slices.Contains(u.Groups, u.GID) {
		u.Groups = append(u.Groups, u.GID)
	}
	return u, nil
}

func current() (User, error) {
	groups, err := os.Getgroups()
	if err != nil {
		return User{}, fmt.Errorf("get groups: %w", err)
	}
	u := User{UID: os.Geteuid(), GID: os.Getegid(), Groups: groups}
	if !slices.Contains(groups, u.GID) {
		u.Groups = append(u.Groups, u.GID)
	}
	if a, err := user.LookupId(strconv.Itoa(u.UID)); err == nil {
		u.Name = a.Username
	}
	return u, nil
}

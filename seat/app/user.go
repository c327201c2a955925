package app

import (
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
)

// identity is who the application is.
type identity struct {
	Name   string `json:"name"`
	UID    int    `json:"uid"`
	GID    int    `json:"gid"`
	Groups []int  `json:"groups"` // with GID
}

// lookup finds a user by name, or by uid or uid:gid.
func lookup(name string) (identity, error) {
	if name == "" {
		groups, err := os.Getgroups()
		if err != nil {
			return identity{}, fmt.Errorf("get groups: %w", err)
		}
		id := identity{UID: os.Geteuid(), GID: os.Getegid()}
		id.Groups = withGroup(groups, id.GID)
		if u, err := user.LookupId(strconv.Itoa(id.UID)); err == nil {
			id.Name = u.Username
		}
		return id, nil
	}
	uidText, gidText, hasGID := strings.Cut(name, ":")
	uid, err := strconv.ParseUint(uidText, 10, 31)
	numeric := err == nil
	if hasGID {
		gid, err := strconv.ParseUint(gidText, 10, 31)
		if !numeric || err != nil {
			return identity{}, fmt.Errorf("user %q is neither a name nor of the form uid or uid:gid", name)
		}
		return identity{UID: int(uid), GID: int(gid), Groups: []int{int(gid)}}, nil
	}
	var u *user.User
	if numeric {
		u, err = user.LookupId(uidText)
	} else {
		u, err = user.Lookup(name)
	}
	if err != nil {
		return identity{}, fmt.Errorf("user %q does not exist on this node", name)
	}
	id := identity{Name: u.Username}
	if id.UID, err = strconv.Atoi(u.Uid); err != nil {
		return identity{}, fmt.Errorf("user %q has uid %q", name, u.Uid)
	}
	if id.GID, err = strconv.Atoi(u.Gid); err != nil {
		return identity{}, fmt.Errorf("user %q has gid %q", name, u.Gid)
	}
	groups, err := u.GroupIds()
	if err != nil {
		return identity{}, fmt.Errorf("list groups of user %q: %w", name, err)
	}
	for _, g := range groups {
		if n, err := strconv.Atoi(g); err == nil {
			id.Groups = append(id.Groups, n)
		}
	}
	id.Groups = withGroup(id.Groups, id.GID)
	return id, nil
}

func withGroup(groups []int, gid int) []int {
	if slices.Contains(groups, gid) {
		return groups
	}
	return append(groups, gid)
}

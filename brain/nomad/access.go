package nomad

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/nearcast/nearcast/internal/wire"
)

// accessOf says who may launch an app. A value that is misspelt must not make an app public, and a
// group that is misspelt must not let everybody in who can log in.
func (c *Client) accessOf(j job, wrong func(string, ...any)) (wire.Access, wire.AppLogin) {
	text, ok := j.Meta["access"]
	access := wire.Access(strings.TrimSpace(text))
	switch {
	case !ok:
		access = c.access
	case access == wire.AccessPublic, access == wire.AccessSigned, access == wire.AccessLogin:
	default:
		wrong(`meta.access = %q: must be "public", "login" or "signed"; a launch needs a launch token now`, text)
		access = wire.AccessSigned
	}
	if access == wire.AccessLogin {
		for key := range j.Meta {
			if strings.HasPrefix(key, "login_") && key != groupsKey && key != subjectsKey {
				wrong("meta.%s is not known: %s and %s are; a launch needs a launch token now", key, groupsKey, subjectsKey)
				return wire.AccessSigned, wire.AppLogin{}
			}
		}
	}
	var login wire.AppLogin
	for _, names := range []struct {
		key string
		to  *[]string
	}{{groupsKey, &login.Groups}, {subjectsKey, &login.Subjects}} {
		key := names.key
		text, there := j.Meta[key]
		if !there {
			continue
		}
		if access != wire.AccessLogin {
			wrong(`meta.%s counts only with access = "login"`, key)
			continue
		}
		list, err := loginList(text)
		if err != nil {
			wrong("meta.%s = %.200q: %v; a launch needs a launch token now", key, text, err)
			return wire.AccessSigned, wire.AppLogin{}
		}
		*names.to = list
	}
	return access, login
}

const (
	groupsKey   = "login_groups"
	subjectsKey = "login_subjects"

	maxLoginNames = 32
	maxLoginName  = 255 // bytes; it is the most that OpenID Connect allows for a subject
	maxLoginList  = 4 << 10
)

// loginList reads names that commas part, or a list in JSON, for names that have a comma.
func loginList(text string) (list []string, err error) {
	text = strings.TrimSpace(text)
	switch {
	case len(text) > maxLoginList:
		return nil, fmt.Errorf("it has %d bytes, more than %d", len(text), maxLoginList)
	case strings.HasPrefix(text, "["):
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			return nil, errors.New("a text that begins with [ has to be a list of texts in JSON")
		}
	default:
		list = strings.Split(text, ",")
	}
	if len(list) == 0 || len(list) > maxLoginNames {
		return nil, fmt.Errorf("it has to have 1 to %d names, and has %d", maxLoginNames, len(list))
	}
	for i, name := range list {
		list[i] = strings.TrimSpace(name)
		switch {
		case list[i] == "":
			return nil, errors.New("a name in it is empty; leave the whole key out to let in each person that the provider knows")
		case len(list[i]) > maxLoginName:
			return nil, fmt.Errorf("the name %.40q… has %d bytes, more than %d", list[i], len(list[i]), maxLoginName)
		case !utf8.ValidString(list[i]):
			return nil, errors.New("a name in it is not UTF-8")
		}
	}
	return list, nil
}

package provision

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"net/netip"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/nearcast/nearcast/internal/unixuser"
)

//go:embed templates/*.tmpl
var templates embed.FS

// File is one rendered file.
type File struct {
	Path string // absolute
	Mode fs.FileMode
	// Group may read the file; its owner is root. Empty is root's group.
	Group string
	Text  []byte
}

// part is a template, and the roles that have its file.
type part struct {
	template string
	consul   bool // Consul reads the file
	dir      func(Paths) string
	in       []Role
}

func consulDir(p Paths) string { return p.ConsulConfig }
func nomadDir(p Paths) string  { return p.NomadConfig }
func ourDir(p Paths) string    { return p.Firewall }

var parts = []part{
	{"consul/agent.hcl", true, consulDir, roles},
	{"consul/server.hcl", true, consulDir, []Role{Server}},
	// Before Nomad's, so that no seat starts without it.
	{"nearcast/firewall.nft", false, ourDir, []Role{Stream}},
	{"nomad/agent.hcl", false, nomadDir, roles},
	{"nomad/server.hcl", false, nomadDir, []Role{Server}},
	{"nomad/client.hcl", false, nomadDir, roles},
	{"nomad/stream.hcl", false, nomadDir, []Role{Stream}},
}

// Render returns the files of a node. Missing values get their defaults. The error names
// all wrong values at once.
func Render(v Values, s Secrets) ([]File, error) {
	v = v.WithDefaults()
	if err := v.Validate(); err != nil {
		return nil, fmt.Errorf("render: %w", err)
	}
	if v.Role == Stream && v.Stream.PublicIP == PublicIPFromIMDS {
		return nil, fmt.Errorf("render: stream.public_ip is %q: get the address from the metadata service first", PublicIPFromIMDS)
	}
	if v.Role == Stream && s.TicketKeys == "" {
		return nil, fmt.Errorf("render: a stream node needs the routers' public keys (ticket-keys.pem)")
	}
	var files []File
	for _, p := range parts {
		if !slices.Contains(p.in, v.Role) {
			continue
		}
		text, err := execute(p.template, v, s)
		if err != nil {
			return nil, err
		}
		f := File{Path: filepath.Join(p.dir(v.Paths), path.Base(p.template)), Mode: 0o600, Text: text} // with tokens
		if p.consul {
			f.Mode, f.Group = 0o640, v.ConsulGroup
		}
		files = append(files, f)
	}
	return files, nil
}

// Managed returns the paths of all files that Render makes for any role.
func Managed(p Paths) []string {
	var all []string
	for _, part := range parts {
		all = append(all, filepath.Join(part.dir(p), path.Base(part.template)))
	}
	return all
}

var functions = template.FuncMap{
	"q":      quote,
	"list":   func(items []string) string { return "[" + strings.Join(quoteAll(items), ", ") + "]" },
	"concat": func(a, b []string) []string { return slices.Concat(a, b) },
	"join":   strings.Join,
	"has":    slices.Contains[[]string],
	"secret": func(s Secrets, name string) string { return quote(filepath.Join(s.Dir, name)) },
}

// quote quotes for HCL: as Go does, and it escapes the starts of templates.
func quote(s string) string {
	return strings.NewReplacer("${", "$${", "%{", "%%{").Replace(strconv.Quote(s))
}

func quoteAll(items []string) []string {
	out := make([]string, len(items))
	for i, s := range items {
		out[i] = quote(s)
	}
	return out
}

func execute(name string, v Values, s Secrets) ([]byte, error) {
	file := "templates/" + strings.ReplaceAll(name, "/", "-") + ".tmpl"
	text, err := templates.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("render %s: %w", name, err)
	}
	t, err := template.New(name).Funcs(functions).Option("missingkey=error").Parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("render %s: %w", name, err)
	}
	apps, streamHosts := v.Stream.Users.Split()
	http, err := netip.ParseAddr(v.HTTP)
	if err != nil {
		return nil, fmt.Errorf("render %s: %w", name, err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, struct {
		Values
		Secret            Secrets
		Apps, StreamHosts unixuser.Range
		HTTP6             bool
	}{v, s, apps, streamHosts, http.Is6()}); err != nil {
		return nil, fmt.Errorf("render %s: %w", name, err)
	}
	return out.Bytes(), nil
}

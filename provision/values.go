package provision

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Role is what a node does for its site.
type Role string

const (
	Server Role = "server"
	Edge   Role = "edge"
	Stream Role = "stream"
)

var roles = []Role{Server, Edge, Stream}

// Roles are all roles there are.
func Roles() []Role { return slices.Clone(roles) }

func (r Role) String() string { return string(r) }

// Values say what a node is to be. Nothing in them is secret. On a node they are
// a file of NEARCAST_… lines, see ReadEnv.
type Values struct {
	Role Role
	Site string // Consul datacenter and Nomad region

	// Primary is the site that owns ACLs; the others copy them. Default: Site.
	Primary string
	// Node is the node's name in Consul and Nomad. It begins with "<role>-": the
	// ACL policy of a role's agents lets them speak for such names only.
	// Default: <role>-<hostname>.
	Node string
	// Pool is the Nomad node pool. Default by role: server, edge, stream-cpu.
	Pool string
	Meta map[string]string // of the node, in Consul and Nomad

	// Interface is the network interface that the site's nodes share. Default:
	// that of the default route.
	Interface string
	// Address is where other nodes reach this one: an IP or a go-sockaddr template.
	// Default: the address of Interface, else the private IP.
	Address string
	// HTTP is where the agents' HTTP APIs listen. Default: 127.0.0.1.
	HTTP  string
	Ports Ports

	// Join names the servers of the site: IPs, host names, or a cloud's
	// "provider=… tag_key=… tag_value=…". Consul and Nomad both use it.
	Join []string
	// NomadJoin is Join for Nomad where it does not use the well-known ports: serf
	// addresses for a server, RPC addresses for a client. Default: Join.
	NomadJoin []string
	// JoinWAN names servers of other sites in the same words. Servers only.
	JoinWAN []string
	// Servers is how many servers the site begins with. Default: 3.
	Servers int

	Cloud Cloud

	Stream StreamValues
	Tuning Tuning
	// ConsulGroup may read what Consul reads. Default: consul.
	ConsulGroup string
	// Paths are where things are on the node. The defaults are what install.sh makes.
	Paths Paths
}

// Ports are the agents' ports; 0 is the well-known one.
type Ports struct {
	ConsulHTTP int // 8500
	ConsulRPC  int // 8300
	ConsulSerf int // 8301
	ConsulWAN  int // 8302
	ConsulDNS  int // 8600; -1 is none
	NomadHTTP  int // 4646
	NomadRPC   int // 4647
	NomadSerf  int // 4648
}

// StreamValues are the options of the stream driver, docs/DRIVER.md.
type StreamValues struct {
	// PublicIP is where browsers reach this node. "imds" asks the cloud when the
	// node is configured; empty is for a node that has its public address itself.
	PublicIP string
	PortMin  int // default 20000
	PortMax  int // default 20999
	Loopback bool
	// CacheSize is at most what the volume of Paths.Cache holds. Default: 20GiB.
	CacheSize string
	S3        S3
}

// Cloud is what a node in AWS knows of itself. The site is its region.
type Cloud struct {
	// Names in Secrets Manager: of the cluster's secrets, which servers alone read,
	// and of what edge and stream nodes have. All empty: the secrets are in files.
	SecretServers, SecretEdge, SecretNodes string
	// Group is the auto scaling group, and Hook waits for the drain of a node that
	// the group is about to terminate.
	Group, Hook string
}

// S3 is the object store. Without an endpoint it is AWS.
type S3 struct {
	Endpoint  string
	Region    string // default: the site
	PathStyle bool
}

// Tuning is what a small or a crowded machine sets otherwise. Zero is the
// agents' own default, or that of production.
type Tuning struct {
	RaftMultiplier int      // 1 in production
	CPU            int      // MHz that the Nomad client claims to have
	ReservedMemory int      // MB kept from seats; default by role
	DiskThreshold  int      // per cent full at which Nomad forgets allocations
	Drivers        []string // Nomad task drivers; default by role
	NoCloud        bool     // ask no cloud's metadata service
	HTTPPerClient  int      // connections to Consul from one address; default 4096
	// RetryJoin is the time between attempts to join others. Default: 5s, for the
	// attempt may be a question to the cloud, which counts them.
	RetryJoin string
}

// Paths are absolute.
type Paths struct {
	ConsulConfig string // /etc/consul.d
	NomadConfig  string // /etc/nomad.d
	ConsulData   string // /var/lib/consul
	NomadData    string // /var/lib/nomad
	Plugins      string // /opt/nearcast/plugins
	StreamHost   string // /opt/nearcast/bin/stream-host
	RunDir       string // /run/nearcast
	Cache        string // /var/cache/nearcast
}

// WithDefaults fills in what Values leave open. Only the node's name depends on
// the machine.
func (v Values) WithDefaults() Values {
	set(&v.Primary, v.Site)
	if v.Node == "" {
		// A machine without a name is caught by Validate.
		if name, err := os.Hostname(); err == nil {
			v.Node = string(v.Role) + "-" + strings.ToLower(name)
		}
	}
	set(&v.Pool, map[Role]string{Server: "server", Edge: "edge", Stream: "stream-cpu"}[v.Role])
	if v.Interface != "" {
		set(&v.Address, fmt.Sprintf("{{ GetInterfaceIP %q }}", v.Interface))
	}
	set(&v.Address, "{{ GetPrivateIP }}")
	set(&v.HTTP, "127.0.0.1")
	if v.NomadJoin == nil {
		v.NomadJoin = v.Join
	}
	p := &v.Ports
	set(&p.ConsulHTTP, 8500)
	set(&p.ConsulRPC, 8300)
	set(&p.ConsulSerf, 8301)
	set(&p.ConsulWAN, 8302)
	set(&p.ConsulDNS, 8600)
	set(&p.NomadHTTP, 4646)
	set(&p.NomadRPC, 4647)
	set(&p.NomadSerf, 4648)
	set(&v.Servers, 3)
	set(&v.Stream.PortMin, 20000)
	set(&v.Stream.PortMax, 20999)
	set(&v.Stream.CacheSize, "20GiB")
	set(&v.Stream.S3.Region, v.Site)
	if v.Cloud.SecretNodes != "" {
		set(&v.Stream.PublicIP, PublicIPFromIMDS)
	}
	t := &v.Tuning
	set(&t.RaftMultiplier, 1)
	set(&t.HTTPPerClient, 4096)
	set(&t.RetryJoin, "5s")
	// What Consul, Nomad and the system need beside the workload.
	set(&t.ReservedMemory, map[Role]int{Server: 1024, Edge: 384, Stream: 512}[v.Role])
	if t.Drivers == nil {
		t.Drivers = []string{"exec"}
		if v.Role == Stream {
			t.Drivers = []string{"stream"}
		}
	}
	set(&v.ConsulGroup, "consul")
	d := &v.Paths
	set(&d.ConsulConfig, "/etc/consul.d")
	set(&d.NomadConfig, "/etc/nomad.d")
	set(&d.ConsulData, "/var/lib/consul")
	set(&d.NomadData, "/var/lib/nomad")
	set(&d.Plugins, "/opt/nearcast/plugins")
	set(&d.StreamHost, "/opt/nearcast/bin/stream-host")
	set(&d.RunDir, "/run/nearcast")
	set(&d.Cache, "/var/cache/nearcast")
	return v
}

func set[T comparable](field *T, value T) {
	if zero := *new(T); *field == zero {
		*field = value
	}
}

var (
	siteName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	poolName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,128}$`)
	metaName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)
	byteSize = regexp.MustCompile(`^(0|[1-9][0-9]*(B|[KMGT]i?B))$`)
)

// Validate says everything that is wrong at once, in words for who wrote the
// values. It is meant for values with their defaults.
func (v Values) Validate() error {
	var errs []error
	wrong := func(field string, value any, allowed string) {
		errs = append(errs, fmt.Errorf("%s is %q: %s", field, fmt.Sprint(value), allowed))
	}
	if !slices.Contains(roles, v.Role) {
		wrong("role", v.Role, `it has to be "server", "edge" or "stream"`)
	}
	// The site's name becomes part of host names in certificates.
	for field, name := range map[string]string{"site": v.Site, "primary": v.Primary} {
		if !siteName.MatchString(name) {
			wrong(field, name, "it has to be letters a-z, digits and hyphens, such as eu-central-1")
		}
	}
	if !siteName.MatchString(v.Node) || !strings.HasPrefix(v.Node, string(v.Role)+"-") {
		wrong("node", v.Node, fmt.Sprintf(`it has to begin with "%s-" and be letters a-z, digits and hyphens, for that is what the role's token may speak for`, v.Role))
	}
	if !poolName.MatchString(v.Pool) {
		wrong("pool", v.Pool, "it has to be a Nomad node pool, such as stream-gpu")
	}
	for name := range v.Meta {
		if !metaName.MatchString(name) {
			wrong("meta", name, "a name has to be letters, digits, hyphens and underscores")
		}
	}
	if len(v.Join) == 0 && !(v.Role == Server && v.Servers == 1) {
		wrong("join", "", `it has to name the site's servers, such as 10.0.1.4,10.0.2.4 or "provider=aws tag_key=… tag_value=…"`)
	}
	for field, list := range map[string][]string{"join": v.Join, "join_wan": v.JoinWAN} {
		if slices.Contains(list, "") {
			wrong(field, "", "it has an empty entry")
		}
	}
	if v.Role != Server && len(v.JoinWAN) > 0 {
		wrong("join_wan", strings.Join(v.JoinWAN, " "), "only servers know other sites")
	}
	if v.Servers < 1 || v.Servers > 7 || v.Servers%2 == 0 {
		wrong("servers", v.Servers, "it has to be 1, 3, 5 or 7: of an even number, no more may fail than of one less")
	}
	if ip, err := netip.ParseAddr(v.HTTP); err != nil || !ip.IsLoopback() {
		wrong("http", v.HTTP, "it has to be a loopback address: the APIs are without TLS, and are reached from elsewhere by a tunnel")
	}
	if err := isAddress(v.Address); err != nil {
		wrong("address", v.Address, err.Error())
	}
	if (v.Cloud.Group == "") != (v.Cloud.Hook == "") {
		wrong("asg, hook", v.Cloud.Group+", "+v.Cloud.Hook, "both have to be given, or none")
	}
	errs = append(errs, v.Ports.validate()...)
	if v.Role == Stream {
		errs = append(errs, v.Stream.validate()...)
	}
	for field, path := range v.Paths.all() {
		if !filepath.IsAbs(path) {
			wrong("paths."+field, path, "it has to be an absolute path")
		}
	}
	// Errors came from maps too; the order is the reader's.
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

func isAddress(address string) error {
	if strings.HasPrefix(address, "{{") && strings.HasSuffix(address, "}}") {
		return nil // the agents' business
	}
	if ip, err := netip.ParseAddr(address); err != nil || ip.IsUnspecified() {
		return errors.New("it has to be one IP of this node, or a template such as {{ GetPrivateIP }}")
	}
	return nil
}

func (p Ports) validate() (errs []error) {
	seen := map[int]string{}
	for _, f := range []struct {
		name string
		port int
	}{
		{"consul_http", p.ConsulHTTP}, {"consul_rpc", p.ConsulRPC}, {"consul_serf", p.ConsulSerf}, {"consul_wan", p.ConsulWAN},
		{"consul_dns", p.ConsulDNS}, {"nomad_http", p.NomadHTTP}, {"nomad_rpc", p.NomadRPC}, {"nomad_serf", p.NomadSerf},
	} {
		if f.name == "consul_dns" && f.port == -1 {
			continue
		}
		if f.port < 1 || f.port > 65535 {
			errs = append(errs, fmt.Errorf("ports.%s is %d: it has to be a port from 1 to 65535", f.name, f.port))
		}
		if other := seen[f.port]; other != "" {
			errs = append(errs, fmt.Errorf("ports.%s is %d: so is ports.%s", f.name, f.port, other))
		}
		seen[f.port] = f.name
	}
	return errs
}

func (s StreamValues) validate() (errs []error) {
	wrong := func(field string, value any, allowed string) {
		errs = append(errs, fmt.Errorf("stream.%s is %q: %s", field, fmt.Sprint(value), allowed))
	}
	if s.PublicIP != "" && s.PublicIP != PublicIPFromIMDS {
		if ip, err := netip.ParseAddr(s.PublicIP); err != nil || ip.IsUnspecified() {
			wrong("public_ip", s.PublicIP, `it has to be an IP, "imds", or nothing`)
		}
	}
	if s.PortMin < 1024 || s.PortMax > 65535 || s.PortMin > s.PortMax {
		wrong("port_min, port_max", fmt.Sprintf("%d, %d", s.PortMin, s.PortMax), "they have to be a range within 1024 to 65535")
	}
	if !byteSize.MatchString(s.CacheSize) {
		wrong("cache_size", s.CacheSize, `it has to be a size such as 40GiB, or "0" for no limit but the disk`)
	}
	if e := s.S3.Endpoint; e != "" && !strings.HasPrefix(e, "http://") && !strings.HasPrefix(e, "https://") {
		wrong("s3.endpoint", e, "it has to be an http or https URL, or nothing for AWS")
	}
	return errs
}

func (p Paths) all() map[string]string {
	return map[string]string{
		"consul_config": p.ConsulConfig, "nomad_config": p.NomadConfig, "consul_data": p.ConsulData, "nomad_data": p.NomadData,
		"plugins": p.Plugins, "stream_host": p.StreamHost, "run_dir": p.RunDir, "cache": p.Cache,
	}
}

// PublicIPFromIMDS stands for the address that the cloud's metadata service
// names. Who configures the node asks, before Render.
const PublicIPFromIMDS = "imds"

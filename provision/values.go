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

	"github.com/nearcast/nearcast/internal/unixuser"
)

// Role is what a node does for its site.
type Role string

const (
	Server Role = "server"
	Edge   Role = "edge"
	Stream Role = "stream"
)

var roles = []Role{Server, Edge, Stream}

// Roles returns all roles.
func Roles() []Role { return slices.Clone(roles) }

func (r Role) String() string { return string(r) }

// Values describe a node. They contain no secret. On a node they are a file of NEARCAST_…
// lines, see ReadEnv.
type Values struct {
	Role Role
	Site string // Consul datacenter and Nomad region

	// Primary is the site that owns ACLs; the other sites copy them. Default: Site.
	Primary string
	// Node is the node's name in Consul and Nomad. It begins with "<role>-": the ACL
	// policy of a role's agents allows only such names. Default: <role>-<hostname>.
	Node string
	// Pool is the Nomad node pool. Default by role: server, edge, stream-cpu.
	Pool string
	Meta map[string]string // metadata of the node in Consul and Nomad

	// Interface is the network interface that connects the site's nodes. Default: the
	// default route's.
	Interface string
	// Address is where other nodes reach this node: an IP or a go-sockaddr template.
	// Default: the address of Interface, else the private IP.
	Address string
	// HTTP is where the agents' HTTP APIs listen. Default: 127.0.0.1.
	HTTP  string
	Ports Ports

	// Join names the servers of the site: IPs, host names, or a cloud's "provider=…
	// tag_key=… tag_value=…". Both Consul and Nomad use it.
	Join []string
	// NomadJoin replaces Join for Nomad if Nomad does not use its well-known ports: serf
	// addresses for a server, RPC addresses for a client. Default: Join.
	NomadJoin []string
	// JoinWAN names servers of other sites, in the same form. Servers only.
	JoinWAN []string
	// Servers is the number of servers that the site starts with. Default: 3.
	Servers int

	Cloud Cloud

	Stream StreamValues
	Tuning Tuning
	// ConsulGroup is the Unix group that may read Consul's files. Default: consul.
	ConsulGroup string
	// Paths of files and folders on the node. install.sh makes the defaults.
	Paths Paths
}

// Ports are the agents' ports; 0 means the well-known port.
type Ports struct {
	ConsulHTTP int // 8500
	ConsulRPC  int // 8300
	ConsulSerf int // 8301
	ConsulWAN  int // 8302
	ConsulDNS  int // 8600; -1 means none
	NomadHTTP  int // 4646
	NomadRPC   int // 4647
	NomadSerf  int // 4648
}

// StreamValues are the options of the stream driver, docs/DRIVER.md.
type StreamValues struct {
	// PublicIP is where browsers reach this node. "imds" reads it from the cloud's metadata
	// service when the node is configured. Empty: a network interface has the address.
	PublicIP string
	PortMin  int // default 20000
	PortMax  int // default 20999
	// GPU says that the node has NVIDIA's GPUs, which are offered as seats.
	GPU bool
	// GPUSeats is how many seats each GPU is. Default: 1 with GPU, else 0, and Nomad does
	// not start nomad-device-seats.
	GPUSeats int
	Loopback bool
	// Private lets people be in private networks, as on one's own premises.
	Private bool
	// CacheSize limits the content cache. Default: 20GiB.
	CacheSize string
	// LocalCache says that the cache should be on a local disk, which may be smaller or absent.
	LocalCache bool
	S3         S3
	// Users are the uids of seats, for the driver and for the node's firewall. Default:
	// unixuser.Seats.
	Users unixuser.Range
}

// Cloud has the settings of a node in AWS. The site is the region's name.
type Cloud struct {
	// Names in Secrets Manager: of the cluster's secrets, which only servers read, of the
	// edge nodes' secrets, and of the stream nodes'. All empty: the secrets are files.
	SecretServers, SecretEdge, SecretNodes string
	// Group is the auto scaling group. Hook is its lifecycle hook, which waits for the
	// drain before the group terminates a node.
	Group, Hook string
	// ReadyHook is the group's hook that waits until a node that was launched is ready.
	// Empty: nothing waits.
	ReadyHook string
	// Reports is where a node writes why it is given up: s3://BUCKET/PREFIX, or empty.
	Reports string
}

// S3 is the object store. Without an endpoint it is AWS's.
type S3 struct {
	Endpoint  string
	Region    string // default: the site
	PathStyle bool
}

// Tuning has settings for small or crowded machines. Zero means the agents' default, or
// the one of production.
type Tuning struct {
	RaftMultiplier int      // 1 in production
	CPU            int      // MHz that the Nomad client reports
	ReservedMemory int      // MB that tasks cannot use; default by role
	DiskThreshold  int      // percent of use of the disk at which Nomad removes old allocations
	Drivers        []string // Nomad task drivers; default by role
	NoCloud        bool     // do not look for a cloud's metadata service
	HTTPPerClient  int      // connections to Consul from one address; default 4096
	// RetryJoin is the time between attempts to join. Default: 5s, because an attempt may
	// be a request to the cloud, which limits their rate.
	RetryJoin string
}

// Paths are absolute paths.
type Paths struct {
	ConsulConfig string // /etc/consul.d
	NomadConfig  string // /etc/nomad.d
	ConsulData   string // /var/lib/consul
	NomadData    string // /var/lib/nomad
	Plugins      string // /opt/nearcast/plugins
	StreamHost   string // /opt/nearcast/bin/stream-host
	RunDir       string // /run/nearcast
	Cache        string // /var/cache/nearcast
	// Alloc has the allocations of Nomad's client. On stream nodes it is below Cache, as only files of one
	// mount can be linked from the one into the other; elsewhere it is below NomadData.
	Alloc    string
	Firewall string // /etc/nearcast, for firewall.nft
}

// WithDefaults returns the values with their defaults. Only the default of Node depends on
// the machine.
func (v Values) WithDefaults() Values {
	set(&v.Primary, v.Site)
	if v.Node == "" {
		// Validate refuses a machine without a name.
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
	if v.Stream.GPU {
		set(&v.Stream.GPUSeats, 1)
	}
	set(&v.Stream.S3.Region, v.Site)
	set(&v.Stream.Users, unixuser.Seats)
	if v.Cloud.SecretNodes != "" {
		set(&v.Stream.PublicIP, PublicIPFromIMDS)
	}
	t := &v.Tuning
	set(&t.RaftMultiplier, 1)
	set(&t.HTTPPerClient, 4096)
	set(&t.RetryJoin, "5s")
	if v.Role == Stream {
		set(&t.DiskThreshold, 95) // the disk is the cache's too, which may have nine tenths of it
	}
	// What Consul, Nomad and the system need.
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
	if v.Role == Stream {
		set(&d.Alloc, filepath.Join(d.Cache, "alloc"))
	} else {
		set(&d.Alloc, filepath.Join(d.NomadData, "alloc"))
	}
	set(&d.Firewall, "/etc/nearcast")
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

// Validate returns one error that names everything that is wrong, for the author of the
// values. Call it on values with their defaults.
func (v Values) Validate() error {
	var errs []error
	wrong := func(field string, value any, allowed string) {
		errs = append(errs, fmt.Errorf("%s is %q: %s", field, fmt.Sprint(value), allowed))
	}
	if !slices.Contains(roles, v.Role) {
		wrong("role", v.Role, `it must be "server", "edge" or "stream"`)
	}
	// The site's name becomes part of host names in certificates.
	for field, name := range map[string]string{"site": v.Site, "primary": v.Primary} {
		if !siteName.MatchString(name) {
			wrong(field, name, "it must be letters a-z, digits and hyphens, such as eu-central-1")
		}
	}
	if !siteName.MatchString(v.Node) || !strings.HasPrefix(v.Node, string(v.Role)+"-") {
		wrong("node", v.Node, fmt.Sprintf(`it must begin with "%s-" and be letters a-z, digits and hyphens: the token of the role allows only such names`, v.Role))
	}
	if !poolName.MatchString(v.Pool) {
		wrong("pool", v.Pool, "it must be the name of a Nomad node pool, such as stream-gpu")
	}
	for name := range v.Meta {
		if !metaName.MatchString(name) {
			wrong("meta", name, "a name must be letters, digits, hyphens and underscores")
		}
	}
	if len(v.Join) == 0 && !(v.Role == Server && v.Servers == 1) {
		wrong("join", "", `it must name the site's servers, such as 10.0.1.4,10.0.2.4 or "provider=aws tag_key=… tag_value=…"`)
	}
	for field, list := range map[string][]string{"join": v.Join, "join_wan": v.JoinWAN} {
		if slices.Contains(list, "") {
			wrong(field, "", "it has an empty item")
		}
	}
	if v.Role != Server && len(v.JoinWAN) > 0 {
		wrong("join_wan", strings.Join(v.JoinWAN, " "), "only servers join other sites")
	}
	if v.Servers < 1 || v.Servers > 7 || v.Servers%2 == 0 {
		wrong("servers", v.Servers, "it must be 1, 3, 5 or 7: an even number survives no more failures than one server less")
	}
	if ip, err := netip.ParseAddr(v.HTTP); err != nil || !ip.IsLoopback() {
		wrong("http", v.HTTP, "it must be a loopback address: the APIs have no TLS, and operators reach them through a tunnel")
	}
	if err := isAddress(v.Address); err != nil {
		wrong("address", v.Address, err.Error())
	}
	if (v.Cloud.Group == "") != (v.Cloud.Hook == "") {
		wrong("asg, hook", v.Cloud.Group+", "+v.Cloud.Hook, "give both or none")
	}
	if v.Cloud.ReadyHook != "" && v.Cloud.Group == "" {
		wrong("ready_hook", v.Cloud.ReadyHook, "it needs asg, the name of the group")
	}
	errs = append(errs, v.Ports.validate()...)
	if v.Role == Stream {
		errs = append(errs, v.Stream.validate()...)
	}
	for field, path := range v.Paths.all() {
		if !filepath.IsAbs(path) {
			wrong("paths."+field, path, "it must be an absolute path")
		}
	}
	// Maps have no order; the reader gets one.
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

func isAddress(address string) error {
	if strings.HasPrefix(address, "{{") && strings.HasSuffix(address, "}}") {
		return nil // the agents evaluate it
	}
	if ip, err := netip.ParseAddr(address); err != nil || ip.IsUnspecified() {
		return errors.New("it must be one IP of this node, or a template such as {{ GetPrivateIP }}")
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
			errs = append(errs, fmt.Errorf("ports.%s is %d: it must be a port from 1 to 65535", f.name, f.port))
		}
		if other := seen[f.port]; other != "" {
			errs = append(errs, fmt.Errorf("ports.%s is %d: ports.%s is the same", f.name, f.port, other))
		}
		seen[f.port] = f.name
	}
	return errs
}

const (
	mostGPUSeats    = 64 // nomad-device-seats takes no more
	gpuSeatsAllowed = "it must be a whole number from 1 to 64"
)

func (s StreamValues) validate() (errs []error) {
	wrong := func(field string, value any, allowed string) {
		errs = append(errs, fmt.Errorf("stream.%s is %q: %s", field, fmt.Sprint(value), allowed))
	}
	if s.PublicIP != "" && s.PublicIP != PublicIPFromIMDS {
		if ip, err := netip.ParseAddr(s.PublicIP); err != nil || ip.IsUnspecified() {
			wrong("public_ip", s.PublicIP, `it must be an IP, "imds", or empty`)
		}
	}
	if s.GPUSeats < 0 || s.GPUSeats > mostGPUSeats {
		wrong("gpu_seats", s.GPUSeats, gpuSeatsAllowed)
	}
	if s.PortMin < 1024 || s.PortMax > 65535 || s.PortMin > s.PortMax {
		wrong("port_min, port_max", fmt.Sprintf("%d, %d", s.PortMin, s.PortMax), "they must be a range within 1024 to 65535")
	}
	if !byteSize.MatchString(s.CacheSize) {
		wrong("cache_size", s.CacheSize, `it must be a size such as 40GiB, or "0" for no limit but the disk`)
	}
	if err := s.Users.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("stream.users: %w", err))
	}
	if e := s.S3.Endpoint; e != "" && !strings.HasPrefix(e, "http://") && !strings.HasPrefix(e, "https://") {
		wrong("s3.endpoint", e, "it must be an http or https URL, or empty for AWS")
	}
	return errs
}

func (p Paths) all() map[string]string {
	return map[string]string{
		"consul_config": p.ConsulConfig, "nomad_config": p.NomadConfig, "consul_data": p.ConsulData, "nomad_data": p.NomadData,
		"plugins": p.Plugins, "stream_host": p.StreamHost, "run_dir": p.RunDir, "cache": p.Cache, "alloc": p.Alloc,
		"firewall": p.Firewall,
	}
}

// PublicIPFromIMDS stands for the address that the cloud's metadata service returns.
// Package configure replaces it before Render.
const PublicIPFromIMDS = "imds"

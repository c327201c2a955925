package turn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/nearcast/nearcast/internal/guard"
	"github.com/nearcast/nearcast/internal/pionlog"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// Config is what a Server is made of.
type Config struct {
	Realm string
	// Secrets are those of brains: the current one, and during a change the one before.
	Secrets []ticket.TURNSecret
	// RelayIP is the node's address for relays, and ExternalIP the one at which seats see
	// them, if it differs. Both are IPv4.
	RelayIP, ExternalIP netip.Addr
	PortMin, PortMax    uint16
	// PerName is how many relays one name may have, and Relays how many there are in all.
	PerName, Relays int
	// Rate bounds the bytes a second of a relay, in each direction.
	Rate int
	// MaxAge is how long after its name has expired a relay may be refreshed.
	MaxAge time.Duration
	// Loopback lets relays reach seats on loopback addresses, as at a site on one machine.
	Loopback bool
	Conns    guard.Limits
	Log      *slog.Logger          // nil means slog.Default()
	Metrics  prometheus.Registerer // nil means none
}

// Listeners are where people ask for relays. TCP and TLS may be nil.
type Listeners struct {
	UDP      net.PacketConn
	TCP, TLS net.Listener
	// Certificate is that of TLS.
	Certificate *Certificate
}

// Close closes them all.
func (l Listeners) Close() {
	if l.UDP != nil {
		l.UDP.Close()
	}
	for _, tcp := range []net.Listener{l.TCP, l.TLS} {
		if tcp != nil {
			tcp.Close()
		}
	}
}

// Server is a TURN server.
type Server struct {
	cfg     Config
	log     *slog.Logger
	peers   *peers
	book    *book
	checks  checks
	conns   *conns
	metrics *metrics
}

// now is the clock of limits and deadlines.
func now() time.Time { return time.Now() }

// New makes a Server. It relays to nobody before Nodes.
func New(cfg Config) (*Server, error) {
	if !cfg.ExternalIP.IsValid() {
		cfg.ExternalIP = cfg.RelayIP
	}
	switch {
	case !cfg.RelayIP.Is4() || !cfg.ExternalIP.Is4():
		return nil, errors.New("turn: the relay's addresses must be IPv4")
	case cfg.PortMin < 1024 || cfg.PortMin > cfg.PortMax:
		return nil, fmt.Errorf("turn: relay ports %d-%d: give a range from 1024 on", cfg.PortMin, cfg.PortMax)
	case cfg.PerName <= 0 || cfg.Relays <= 0 || cfg.Rate <= 0:
		return nil, errors.New("turn: the limits must be positive")
	case len(cfg.Secrets) == 0 || slices.Contains(cfg.Secrets, ""):
		return nil, errors.New("turn: the secret is missing")
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	s := &Server{cfg: cfg, log: cfg.Log, peers: &peers{loopback: cfg.Loopback},
		book:   &book{perName: cfg.PerName, all: cfg.Relays, names: map[string]int{}},
		checks: checks{most: maxChecks, life: checkFor, clients: map[string]bool{}}}
	s.conns = newConns(cfg.Conns, func(why string) { s.metrics.cuts.WithLabelValues(why).Inc() })
	s.metrics = newMetrics(cfg.Metrics, s)
	return s, nil
}

// Nodes sets whom relays may reach: the seats of these nodes.
func (s *Server) Nodes(nodes []wire.Node) {
	for _, err := range s.peers.set(nodes) {
		s.log.Warn("the ports of a node's seats are not understood", "error", err)
	}
}

// Ready reports whether the nodes are known.
func (s *Server) Ready() bool { return s.peers.ready() }

// Serve serves until ctx ends. It closes the listeners.
func (s *Server) Serve(ctx context.Context, l Listeners) error {
	generator := &relays{ip: s.cfg.RelayIP, external: s.cfg.ExternalIP, portMin: s.cfg.PortMin, portMax: s.cfg.PortMax,
		rate: s.cfg.Rate, book: s.book, checks: &s.checks, peers: s.peers, metrics: s.metrics}
	cfg := turn.ServerConfig{
		Realm: s.cfg.Realm, LoggerFactory: pionlog.To(s.log), AuthHandler: s.authenticate,
		QuotaHandler: func(name, _ string, _ net.Addr) bool {
			if name == checkUser || s.book.room(name) {
				return true
			}
			s.metrics.refused("quota")
			return false
		},
		EventHandler: turn.EventHandler{
			OnAllocationCreated: func(from, to net.Addr, _, user, _ string, _ net.Addr, _ int) {
				if user == checkUser { // everybody may have one: its connection stays a stranger's
					s.metrics.checks.Inc()
					s.checks.from(from, true)
					return
				}
				s.metrics.made.Inc()
				s.conns.prove(from, to)
			},
			OnAllocationDeleted: func(from, to net.Addr, _, user, _ string) {
				if user == checkUser {
					s.checks.from(from, false)
				}
				s.conns.end(from, to)
			},
		},
	}
	if l.UDP != nil {
		cfg.PacketConnConfigs = []turn.PacketConnConfig{{PacketConn: l.UDP, RelayAddressGenerator: generator, PermissionHandler: s.permit}}
	}
	for _, tcp := range []net.Listener{l.TCP, l.TLS} {
		if tcp == nil {
			continue
		}
		bounded := s.conns.listener(tcp)
		if tcp == l.TLS {
			bounded = tls.NewListener(bounded, l.Certificate.Config())
		}
		cfg.ListenerConfigs = append(cfg.ListenerConfigs, turn.ListenerConfig{Listener: bounded, RelayAddressGenerator: generator, PermissionHandler: s.permit})
	}
	server, err := turn.NewServer(cfg)
	if err != nil {
		return fmt.Errorf("serve TURN: %w", err)
	}
	var guarding sync.WaitGroup
	guarding.Go(func() { s.conns.guard.Run(ctx) })
	<-ctx.Done()
	err = server.Close()
	s.conns.closeAll()
	guarding.Wait()
	if err != nil {
		return fmt.Errorf("stop TURN: %w", err)
	}
	return ctx.Err()
}

// authenticate gives the user that makes a request, and the key with which it must be signed.
func (s *Server) authenticate(r *turn.RequestAttributes) (name string, key []byte, ok bool) {
	until, id, err := ticket.ReadTURNName(r.Username)
	secret, check := s.secret(id)
	if err != nil || secret == "" {
		s.metrics.refused("name")
		return "", nil, false
	}
	name = r.Username
	if check {
		name = checkUser
	}
	if late := time.Since(until); late > 0 {
		// A relay that exists goes on.
		goesOn := r.Method != stun.MethodAllocate && late < s.cfg.MaxAge && s.book.has(name)
		if !goesOn {
			s.metrics.refused("expired")
			return "", nil, false
		}
	}
	return name, turn.GenerateAuthKey(r.Username, r.Realm, secret.Password(r.Username)), true
}

// secret finds a secret by its ID, and whether it is that of checks. It is empty where there
// is none.
func (s *Server) secret(id string) (secret ticket.TURNSecret, check bool) {
	for _, own := range s.cfg.Secrets {
		if own.ID() == id {
			return own, false
		}
		if checks := own.ForChecks(); checks.ID() == id {
			return checks, true
		}
	}
	return "", false
}

// permit decides whether a relay may speak with an address.
func (s *Server) permit(client net.Addr, peer net.IP) bool {
	if s.peers.hasIP(peer) && !s.checks.has(client) {
		return true
	}
	s.metrics.refused("peer")
	return false
}

package keeper

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell/internet"
)

// connectTimeout bounds the start of the outside world.
const connectTimeout = 10 * time.Second

// connect gives the cell whose first process is init the outside world.
func (k *keeper) connect(init int) error {
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	defer cancel()
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", init))
	if err != nil {
		return fmt.Errorf("connect the cell: %w", err)
	}
	defer ns.Close()
	cfg := internet.Config{Netns: ns, UID: uint32(k.app.UID), GID: uint32(k.app.GID), Log: k.log}
	for _, text := range k.spec.Cell.Deny {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return failed(wire.CodeConfig, "internet.deny: %w", err)
		}
		cfg.Deny = append(cfg.Deny, prefix)
	}
	if public, err := netip.ParseAddr(k.spec.Listen.PublicIP); err == nil {
		// Behind a 1:1 NAT the node does not have this address of its own.
		cfg.Deny = append(cfg.Deny, netip.PrefixFrom(public, public.BitLen()))
	}
	for _, text := range k.spec.Cell.Resolvers {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return failed(wire.CodeConfig, "internet.resolvers: %w", err)
		}
		cfg.Resolvers = append(cfg.Resolvers, addr)
	}
	if k.network, err = internet.Start(ctx, cfg); err != nil {
		return failed(wire.CodeConfig, "%w", err)
	}
	if err := k.place(k.network.PID()); err != nil {
		return err
	}
	go func() {
		<-k.network.Done()
		if err := k.network.Err(); err != nil { // nil after Close
			k.log.Error("the app has lost the internet", "error", err)
		}
	}()
	return nil
}

// resolvConf names the resolver of the cell.
func (k *keeper) resolvConf() string {
	if k.spec.Network == wire.NetworkInternet {
		return internet.ResolvConf()
	}
	return ""
}

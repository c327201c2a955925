package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/hashicorp/consul/api"

	"github.com/nearcast/nearcast/internal/wire"
)

// Site is the name of the local agent's site.
func (f *Fleet) Site(ctx context.Context) (string, error) {
	if f.site != "" {
		return f.site, nil
	}
	var self map[string]map[string]any
	if _, err := f.consul.Raw().Query("/v1/agent/self", &self, f.query(ctx)); err != nil {
		return "", fmt.Errorf("ask consul for its site: %w", err)
	}
	site, _ := self["Config"]["Datacenter"].(string)
	if site == "" {
		return "", errors.New("consul does not say its datacenter")
	}
	return site, nil
}

// Sites are all sites that Consul knows, the nearest by its WAN coordinates first.
// Consul has no blocking query for this: poll.
func (f *Fleet) Sites(ctx context.Context) ([]string, error) {
	var sites []string
	if _, err := f.consul.Raw().Query("/v1/catalog/datacenters", &sites, f.query(ctx)); err != nil {
		return nil, fmt.Errorf("list sites: %w", err)
	}
	return sites, nil
}

// PublishSite writes what a site is, for the routers.
func (f *Fleet) PublishSite(ctx context.Context, info wire.SiteInfo) error {
	value, err := json.Marshal(info)
	if err != nil {
		return fmt.Errorf("encode site %s: %w", info.Site, err)
	}
	if _, err := f.consul.KV().Put(&api.KVPair{Key: wire.SiteKey, Value: value}, f.write(ctx)); err != nil {
		return fmt.Errorf("publish site %s: %w", info.Site, err)
	}
	return nil
}

// WatchSite calls fn with what the site is: first as soon as Consul answers, then
// at each change. It is the zero value while nothing is published.
func (f *Fleet) WatchSite(ctx context.Context, fn func(wire.SiteInfo)) *Watch {
	return watch(ctx, f, "site", f.siteInfo, fn)
}

// SiteInfo is what the site is, as WatchSite gives it, now.
func (f *Fleet) SiteInfo(ctx context.Context) (wire.SiteInfo, error) {
	info, _, err := f.siteInfo(f.query(ctx))
	if err != nil {
		return wire.SiteInfo{}, fmt.Errorf("read the description of a site: %w", err)
	}
	return info, nil
}

func (f *Fleet) siteInfo(opts *api.QueryOptions) (wire.SiteInfo, *api.QueryMeta, error) {
	pair, meta, err := f.consul.KV().Get(wire.SiteKey, opts)
	if err != nil || pair == nil {
		return wire.SiteInfo{}, meta, err
	}
	var info wire.SiteInfo
	if err := json.Unmarshal(pair.Value, &info); err != nil {
		f.log.Warn("ignored a malformed description of a site in consul", "key", pair.Key, "site", f.site, "error", err)
		return wire.SiteInfo{}, meta, nil
	}
	return info, meta, nil
}

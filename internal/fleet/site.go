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

// Sites are all sites that Consul knows, nearest first as its WAN coordinates
// see it. Consul cannot be watched for this: poll.
func (f *Fleet) Sites(ctx context.Context) ([]string, error) {
	var sites []string
	if _, err := f.consul.Raw().Query("/v1/catalog/datacenters", &sites, f.query(ctx)); err != nil {
		return nil, fmt.Errorf("list sites: %w", err)
	}
	return sites, nil
}

// PublishSite writes what the site says of itself for the routers to see.
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

// WatchSite tells fn what the site says of itself: first as soon as Consul
// answers, then at each change. It is the zero value while the site says nothing.
func (f *Fleet) WatchSite(ctx context.Context, fn func(wire.SiteInfo)) *Watch {
	return watch(ctx, f, "site", func(opts *api.QueryOptions) (wire.SiteInfo, *api.QueryMeta, error) {
		pair, meta, err := f.consul.KV().Get(wire.SiteKey, opts)
		if err != nil || pair == nil {
			return wire.SiteInfo{}, meta, err
		}
		var info wire.SiteInfo
		if err := json.Unmarshal(pair.Value, &info); err != nil {
			f.log.Warn("what a site says of itself in consul makes no sense; ignored", "key", pair.Key, "site", f.site, "error", err)
			return wire.SiteInfo{}, meta, nil
		}
		return info, meta, nil
	}, fn)
}

package publish

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// A manifest that has not the bytes of its name says nothing about what a site must have.
func TestWaitChecksTheManifest(t *testing.T) {
	server := testkit.StartS3(t, "us-east-1", "content")
	from := Store{Bucket: "content", Prefix: "game/", Endpoint: server.URL, Region: server.Region}
	client, err := from.open(t.Context())
	testkit.Must(t, err)
	name := strings.Repeat("ab", 32)
	key := from.Prefix + wire.ManifestKey(name)
	_, err = client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &from.Bucket, Key: &key, Body: strings.NewReader(`{"version":1,"files":[]}`)})
	testkit.Must(t, err)
	err = Wait(t.Context(), name, from, []Site{{"here", from}}, 0, nil)
	if err == nil || !strings.Contains(err.Error(), "has not the sha256 of its name") {
		t.Errorf("Wait: %v", err)
	}
}

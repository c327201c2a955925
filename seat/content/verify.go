package content

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"hash/crc32"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/minio/crc64nvme"

	"github.com/nearcast/nearcast/internal/wire"
)

// checksums are the store's checksums of a whole object, in base64, by algorithm.
type checksums map[string]string

// headOf reads the headers of an answer to HEAD.
func headOf(out *s3.HeadObjectOutput) head {
	return head{
		etag: strong(aws.ToString(out.ETag)), size: aws.ToInt64(out.ContentLength), version: aws.ToString(out.VersionId),
		sums: checksumsOf(out),
	}
}

// headOfGet reads the same headers of an answer to GET.
func headOfGet(out *s3.GetObjectOutput) head {
	return headOf(&s3.HeadObjectOutput{
		ETag: out.ETag, ContentLength: out.ContentLength, VersionId: out.VersionId, ChecksumType: out.ChecksumType,
		ChecksumSHA256: out.ChecksumSHA256, ChecksumCRC64NVME: out.ChecksumCRC64NVME, ChecksumCRC32C: out.ChecksumCRC32C, ChecksumCRC32: out.ChecksumCRC32,
		ServerSideEncryption: out.ServerSideEncryption, SSECustomerAlgorithm: out.SSECustomerAlgorithm,
	})
}

func checksumsOf(out *s3.HeadObjectOutput) checksums {
	sums := checksums{}
	if out.ChecksumType == types.ChecksumTypeComposite {
		return sums // a checksum of part checksums: useless without the part sizes
	}
	for name, value := range map[string]*string{
		"sha256": out.ChecksumSHA256, "crc64nvme": out.ChecksumCRC64NVME,
		"crc32c": out.ChecksumCRC32C, "crc32": out.ChecksumCRC32,
	} {
		if sum := aws.ToString(value); sum != "" && !strings.Contains(sum, "-") {
			sums[name] = sum
		}
	}
	// A plain ETag is the MD5 only if the object is not encrypted with a key of KMS or the customer.
	etag := strings.Trim(strong(aws.ToString(out.ETag)), `"`)
	if plainMD5.MatchString(etag) && (out.ServerSideEncryption == "" || out.ServerSideEncryption == types.ServerSideEncryptionAes256) && aws.ToString(out.SSECustomerAlgorithm) == "" {
		if sum, err := hex.DecodeString(etag); err == nil {
			sums["md5"] = base64.StdEncoding.EncodeToString(sum)
		}
	}
	return sums
}

var plainMD5 = regexp.MustCompile(`^[0-9a-f]{32}$`)

// strongest picks one algorithm: each hash delays the start.
func (c checksums) strongest() (name string, h hash.Hash) {
	for _, name := range []string{"sha256", "crc64nvme", "crc32c", "crc32", "md5"} {
		if c[name] == "" {
			continue
		}
		switch name {
		case "sha256":
			return name, sha256.New()
		case "crc64nvme":
			return name, crc64nvme.New() // S3 has it of most objects; hash/crc64 takes 25 times as long
		case "crc32c":
			return name, crc32.New(crc32.MakeTable(crc32.Castagnoli))
		case "crc32":
			return name, crc32.NewIEEE()
		case "md5":
			return name, md5.New()
		}
	}
	return "", nil
}

// hash is what the object is checked with; nil where nothing is known but size and ETag.
func (f file) hash(sums checksums) hash.Hash {
	if f.sha256 != "" {
		return sha256.New()
	}
	_, h := sums.strongest()
	return h
}

// check compares what was hashed with the checksum.
func (f file) check(sums checksums, h hash.Hash) error {
	if h == nil {
		return nil
	}
	got := h.Sum(nil)
	want, name, whose := "", "sha256", "the job's"
	if f.sha256 != "" {
		raw, err := hex.DecodeString(f.sha256)
		if err != nil {
			return err
		}
		want = base64.StdEncoding.EncodeToString(raw)
	} else {
		name, _ = sums.strongest()
		want, whose = sums[name], "the store's"
	}
	if base64.StdEncoding.EncodeToString(got) != want {
		return failure(wire.CodeContentChecksum, "%s has %s %s, which differs from %s; upload it again, or correct the job", f.name(), name, hex.EncodeToString(got), whose)
	}
	return nil
}

// wrongSize says that an object has another number of bytes than it should.
func wrongSize(f file, size int64) error {
	return failure(wire.CodeContentChecksum, "%s has %d bytes, and should have %d; publish it again, or correct the job", f.name(), size, f.size)
}

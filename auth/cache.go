package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"math"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"dproxy/conf"
	"dproxy/passdb"
)

const (
	// recordCost is the memory in bytes of a record beside its texts: list element, map entry,
	// structures. Measured on 64 bits.
	recordCost = 448
	fieldCost  = 32 // two string headers
	minCache   = 1024
	// negativeShare is the part of the cache, 1/n, that unknown users may fill: whoever tries names
	// must not push the real users out.
	negativeShare = 4
)

// cache keeps passdb answers, least recently used ones go first. A nil cache keeps nothing. It is
// safe for concurrent use.
type cache struct {
	size             int64
	ttl, negativeTTL time.Duration

	mu        sync.Mutex
	positive  lru
	negative  lru
	gen       uint64 // changes with each flush
	hits      uint64
	misses    uint64
	evictions uint64
}

type lru struct {
	*simplelru.LRU[string, *record]
	bytes int64
}

// record is one answer. What follows mutable is guarded by the cache.
type record struct {
	key, user string
	stored    stored
	fields    []passdb.Field
	scheme    string
	negative  bool // no such user
	learned   bool // the password is one that the driver accepted, not one it told
	created   time.Time
	until     time.Time // when the answer itself ends, if ever
	cost      int64
	// Mutable.
	lastSuccess bool    // the last password given was right
	verified    *digest // a password that has been verified against an expensive hash
}

func newCache(s *conf.Settings) (*cache, error) {
	switch {
	case s.AuthCacheSize == 0:
		return nil, nil
	case s.AuthCacheSize < minCache:
		return nil, fault("auth_cache_size value is too small")
	case s.AuthCacheSize > math.MaxInt64:
		return nil, fault("auth_cache_size value is too large")
	}
	c := &cache{size: int64(s.AuthCacheSize), ttl: s.AuthCacheTTL, negativeTTL: s.AuthCacheNegativeTTL}
	for _, l := range []*lru{&c.positive, &c.negative} {
		list, err := simplelru.NewLRU(math.MaxInt, func(_ string, r *record) { l.bytes -= r.cost })
		if err != nil {
			return nil, err
		}
		l.LRU = list
	}
	return c, nil
}

// get finds the record of a question, expired ones too.
func (c *cache) get(q question) *record {
	if c == nil || !q.cacheable {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.positive.Get(q.key)
	if !ok {
		if r, ok = c.negative.Get(q.key); !ok {
			c.misses++
			return nil
		}
	}
	if c.expired(r) {
		c.misses++
	} else {
		c.hits++
	}
	return r
}

func (c *cache) expired(r *record) bool {
	ttl := c.ttl
	if r.negative {
		ttl = c.negativeTTL
	}
	return time.Since(r.created) > ttl || r.over()
}

// over tells whether a record's answer has ended: then it is not even good for times when the database is down.
func (r *record) over() bool { return !r.until.IsZero() && !time.Now().Before(r.until) }

// fresh tells whether a record is young enough to be used without asking.
func (c *cache) fresh(r *record) bool { return !c.expired(r) }

// answer is what a record says.
func (c *cache) answer(r *record) *answer {
	a := &answer{stored: r.stored, fields: r.fields, scheme: r.scheme, rec: r}
	if r.negative {
		a.status = passdb.Unknown
	}
	return a
}

// doubt notes what became of a record's answer, and tells whether the database has to be asked after
// all: a password that is not the cached one may be a new one.
func (c *cache) doubt(r *record, status passdb.Status, compared bool) bool {
	if !compared {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if status == passdb.OK {
		r.lastSuccess = true
		return false
	}
	again := r.lastSuccess || r.learned || time.Since(r.created) > c.negativeTTL
	r.lastSuccess = false
	return status == passdb.Mismatch && again
}

func (c *cache) isVerified(r *record, mac *digest) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return r.verified != nil && r.verified.equal(mac)
}

func (c *cache) setVerified(r *record, mac *digest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r.verified = mac
}

// currentGeneration changes with each flush; see put.
func (c *cache) currentGeneration() uint64 {
	if c == nil {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gen
}

// put stores a record that was asked for in a generation. When there was a flush since, the record
// may be what the flush was to remove, and is not stored.
func (c *cache) put(r *record, generation uint64) {
	if r.negative && c.negativeTTL == 0 || !r.negative && c.ttl == 0 {
		return
	}
	r.created = time.Now()
	r.cost = recordCost + int64(len(r.key)+len(r.user)+len(r.stored.hash.Data))
	for _, f := range r.fields {
		r.cost += fieldCost + int64(len(f.Name)+len(f.Value))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if generation != c.gen {
		return
	}
	c.positive.Remove(r.key)
	c.negative.Remove(r.key)
	l, most := &c.positive, c.size
	if r.negative {
		l, most = &c.negative, c.size/negativeShare
	}
	if r.cost > most {
		return
	}
	l.Add(r.key, r)
	l.bytes += r.cost
	for l.bytes > most {
		l.RemoveOldest()
		c.evictions++
	}
	for c.positive.bytes+c.negative.bytes > c.size {
		if _, _, ok := c.negative.RemoveOldest(); !ok {
			c.positive.RemoveOldest()
		}
		c.evictions++
	}
}

// flush removes the records of the users that one of the masks (* and ?) matches, or all without a
// mask, and returns how many they were.
func (c *cache) flush(masks []string) int {
	if c == nil {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gen++
	n := 0
	for _, l := range []*lru{&c.positive, &c.negative} {
		for _, key := range l.Keys() {
			r, _ := l.Peek(key)
			hit := len(masks) == 0
			for _, m := range masks {
				hit = hit || wildcard(m, r.user)
			}
			if hit {
				l.Remove(key)
				n++
			}
		}
	}
	return n
}

// CacheStats are counters of the auth cache since start.
type CacheStats struct {
	Hits, Misses, Evictions uint64
	Entries                 int
	Bytes, Size             int64
}

// CacheStats returns the cache's counters; they are zero without a cache.
func (a *Authenticator) CacheStats() CacheStats {
	c := a.cache
	if c == nil {
		return CacheStats{}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return CacheStats{
		Hits: c.hits, Misses: c.misses, Evictions: c.evictions, Size: c.size,
		Entries: c.positive.Len() + c.negative.Len(), Bytes: c.positive.bytes + c.negative.bytes,
	}
}

// FlushCache forgets what is cached about the named users (* and ? are wildcards), or everything
// when none is named, and returns the number of entries removed. Names are compared with the one
// that the passdb was asked for.
func (a *Authenticator) FlushCache(users ...string) int { return a.cache.flush(users) }

// macKey keys the digests that stand for passwords in memory. It is random and never leaves the
// process, so that the digests are of no use to who reads them in a dump of the cache alone.
type macKey [sha256.Size]byte

func newMACKey() (k macKey) {
	_, _ = rand.Read(k[:]) // it cannot fail
	return k
}

type digest [sha256.Size]byte

// of makes the digest of a password. Equal passwords under different salts have different digests.
func (k *macKey) of(salt, password string) *digest {
	h := hmac.New(sha256.New, k[:])
	h.Write(appendPart(nil, salt))
	h.Write([]byte(password))
	var d digest
	h.Sum(d[:0])
	return &d
}

func (d *digest) equal(other *digest) bool { return subtle.ConstantTimeCompare(d[:], other[:]) == 1 }

func (d *digest) text() string { return hex.EncodeToString(d[:]) }

// String keeps digests out of logs.
func (*digest) String() string { return "<hidden>" }

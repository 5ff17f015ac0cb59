package scheme

import (
	"strings"
	"sync"
)

// This file is the DES of crypt(3): FIPS 46-3 with a salt that swaps bits of the expansion. Tables number bits
// from 1 at the most significant end, as the standard does.

const (
	desIterations = 25
	desHashSize   = 11 // characters of a 64-bit block
)

func desPC1() []byte {
	return []byte{
		57, 49, 41, 33, 25, 17, 9, 1, 58, 50, 42, 34, 26, 18, 10, 2, 59, 51, 43, 35, 27, 19, 11, 3, 60, 52, 44, 36,
		63, 55, 47, 39, 31, 23, 15, 7, 62, 54, 46, 38, 30, 22, 14, 6, 61, 53, 45, 37, 29, 21, 13, 5, 28, 20, 12, 4,
	}
}

func desPC2() []byte {
	return []byte{
		14, 17, 11, 24, 1, 5, 3, 28, 15, 6, 21, 10, 23, 19, 12, 4, 26, 8, 16, 7, 27, 20, 13, 2,
		41, 52, 31, 37, 47, 55, 30, 40, 51, 45, 33, 48, 44, 49, 39, 56, 34, 53, 46, 42, 50, 36, 29, 32,
	}
}

func desP() []byte {
	return []byte{
		16, 7, 20, 21, 29, 12, 28, 17, 1, 15, 23, 26, 5, 18, 31, 10,
		2, 8, 24, 14, 32, 27, 3, 9, 19, 13, 30, 6, 22, 11, 4, 25,
	}
}

func desIP() []byte {
	return []byte{
		58, 50, 42, 34, 26, 18, 10, 2, 60, 52, 44, 36, 28, 20, 12, 4, 62, 54, 46, 38, 30, 22, 14, 6, 64, 56, 48, 40, 32, 24, 16, 8,
		57, 49, 41, 33, 25, 17, 9, 1, 59, 51, 43, 35, 27, 19, 11, 3, 61, 53, 45, 37, 29, 21, 13, 5, 63, 55, 47, 39, 31, 23, 15, 7,
	}
}

func desFP() []byte {
	ip, fp := desIP(), make([]byte, 64)
	for to, from := range ip {
		fp[from-1] = byte(to + 1)
	}
	return fp
}

// desS holds the eight S-boxes: four rows each, a hex digit an entry.
func desS() [8][4]string {
	return [8][4]string{
		{"e4d12fb83a6c5907", "0f74e2d1a6cb9538", "41e8d62bfc973a50", "fc8249175b3ea06d"},
		{"f18e6b34972dc05a", "3d47f28ec01a69b5", "0e7ba4d158c6932f", "d8a13f42b67c05e9"},
		{"a09e63f51dc7b428", "d709346a285ecbf1", "d6498f30b12c5ae7", "1ad069874fe3b52c"},
		{"7de3069a1285bc4f", "d8b56f03472c1ae9", "a690cb7df13e5284", "3f06a1d8945bc72e"},
		{"2c417ab6853fd0e9", "eb2c47d150fa3986", "421bad78f9c5630e", "b8c71e2d6f09a453"},
		{"c1af92680d34e75b", "af427c9561de0b38", "9ef528c3704a1db6", "432c95fabe17608d"},
		{"4b2ef08d3c975a61", "d0b7491ae35c2f86", "14bdc37eaf680592", "6bd814a7950fe23c"},
		{"d2846fb1a93e50c7", "1fd8a374c56b0e92", "7b419ce206adf358", "21e74a8dfc90356b"},
	}
}

func permuteBits(in uint64, width int, order []byte) uint64 {
	out := uint64(0)
	for _, bit := range order {
		out = out<<1 | in>>(width-int(bit))&1
	}
	return out
}

// desBoxes are the S-boxes with P in one step.
type desBoxes [8][64]uint32

// des is one key schedule with its tables.
type des struct {
	boxes *desBoxes
	keys  [16]uint64 // 48 bits each
}

func newDES() *des { return &des{boxes: desReady()} }

var desReady = sync.OnceValue(func() *desBoxes {
	boxes := &desBoxes{}
	p := desP()
	for i, rows := range desS() {
		for in := range 64 {
			row, column := in>>4&2|in&1, in>>1&15
			out := strings.IndexByte("0123456789abcdef", rows[row][column])
			boxes[i][in] = uint32(permuteBits(uint64(out)<<(4*(7-i)), 32, p))
		}
	}
	return boxes
})

func (d *des) setKey(key uint64) {
	cd := permuteBits(key, 64, desPC1())
	c, e := cd>>28, cd&(1<<28-1)
	pc2 := desPC2()
	for i := range d.keys {
		shift := 2
		if i == 0 || i == 1 || i == 8 || i == 15 {
			shift = 1
		}
		c = (c<<shift | c>>(28-shift)) & (1<<28 - 1)
		e = (e<<shift | e>>(28-shift)) & (1<<28 - 1)
		d.keys[i] = permuteBits(c<<28|e, 56, pc2)
	}
}

// encrypt runs the block through the cipher count times. Salt bit i swaps bits i+1 and i+25 of the expansion.
func (d *des) encrypt(block uint64, salt uint32, count int) uint64 {
	mask := uint64(0)
	for i := range 24 {
		mask |= uint64(salt>>i&1) << (23 - i)
	}
	block = permuteBits(block, 64, desIP())
	l, r := uint32(block>>32), uint32(block)
	for range count {
		for _, key := range d.keys {
			l, r = r, l^d.round(r, key, mask)
		}
		l, r = r, l
	}
	return permuteBits(uint64(l)<<32|uint64(r), 64, desFP())
}

func (d *des) round(r uint32, key, mask uint64) uint32 {
	wide := uint64(r&1)<<33 | uint64(r)<<1 | uint64(r>>31) // bit 32 before bit 1, bit 1 behind bit 32
	e := uint64(0)
	for i := range 8 {
		e = e<<6 | wide>>(28-4*i)&63
	}
	swap := (e>>24 ^ e) & mask
	e ^= swap<<24 | swap
	e ^= key
	out := uint32(0)
	for i := range 8 {
		out |= d.boxes[i][e>>(42-6*i)&63]
	}
	return out
}

// desBlock packs up to eight characters, shifted left by one: the eighth bit of a character is lost.
func desBlock(text string) uint64 {
	key := uint64(0)
	for i := range 8 {
		c := byte(0)
		if i < len(text) {
			c = text[i] << 1
		}
		key = key<<8 | uint64(c)
	}
	return key
}

func desText(block uint64) string {
	var out [desHashSize]byte
	for i := range out {
		if i == desHashSize-1 {
			out[i] = itoa64[block<<2&63]
			break
		}
		out[i] = itoa64[block>>(58-6*i)&63]
	}
	return string(out[:])
}

// cryptDES is the traditional crypt(3): two characters of salt, and only eight of the password count. A longer
// stored hash is bigcrypt's: each further eight characters are hashed with the hash before them as salt.
func cryptDES(password, setting string) (string, error) {
	if len(setting) < 2 || unpack64(setting[:2]) < 0 {
		return "", nil
	}
	segments := 1
	if len(setting) > 2+desHashSize {
		segments = min(max((len(password)+7)/8, 1), 16)
	}
	d, out, salt := newDES(), setting[:2], setting[:2]
	for i := range segments {
		d.setKey(desBlock(password[min(8*i, len(password)):]))
		hash := desText(d.encrypt(0, uint32(unpack64(salt)), desIterations))
		out, salt = out+hash, hash[:2]
	}
	return out, nil
}

// cryptExtendedDES is BSDI's form: _ + 4 characters of count + 4 of salt; the whole password counts.
func cryptExtendedDES(password, setting string) (string, error) {
	if len(setting) < 9 {
		return "", nil
	}
	count, salt := unpack64(setting[1:5]), unpack64(setting[5:9])
	if count < 1 || salt < 0 {
		return "", nil
	}
	d := newDES()
	key := desBlock(password)
	d.setKey(key)
	for len(password) > 8 {
		password = password[8:]
		key = d.encrypt(key, 0, 1) ^ desBlock(password)
		d.setKey(key)
	}
	return setting[:9] + desText(d.encrypt(0, uint32(salt), count)), nil
}

func generateDES(password, _ string, _ int) ([]byte, error) {
	out, err := cryptDES(password, saltText(2))
	return []byte(out), err
}

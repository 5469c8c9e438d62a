// Checklog verifies an exported log with software that is not sealstat's: golang.org/x/mod/sumdb, the code behind
// Go's checksum database.
//
//	go run main.go -key VKEY [-witness VKEY]... [-proof FILE] DIR
//
// It checks, in this order: the log's signature on DIR/checkpoint, each witness's cosignature/v1, the tree that the
// entry bundles give, every hash tile against that tree, proofs made from the tiles, and the tlog-proof file if one
// is given. It prints one line and exits with 0, or says what is wrong and exits with 1.
//
// The tiles have C2SP's paths (c2sp.org/tlog-tiles); sumdb's own differ by the height in front and by the bundles.
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8
const width = 1 << height

type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

func main() {
	key := flag.String("key", "", "the log's verifier key")
	proof := flag.String("proof", "", "a tlog-proof file to check as well")
	var witnesses list
	flag.Var(&witnesses, "witness", "a witness's verifier key (type 04); once for each")
	flag.Parse()
	if flag.NArg() != 1 || *key == "" {
		fmt.Fprintln(os.Stderr, "usage: checklog -key VKEY [-witness VKEY]... [-proof FILE] DIR")
		os.Exit(2)
	}
	size, err := check(flag.Arg(0), *key, witnesses, *proof)
	if err != nil {
		fmt.Fprintln(os.Stderr, "checklog:", err)
		os.Exit(1)
	}
	fmt.Printf("verified %d entries, %d cosignatures\n", size, len(witnesses))
}

func check(dir, key string, witnesses []string, proof string) (int64, error) {
	verifiers, err := parseKeys(key, witnesses)
	if err != nil {
		return 0, err
	}
	data, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		return 0, err
	}
	tree, err := openCheckpoint(data, verifiers)
	if err != nil {
		return 0, err
	}

	// (1) The tree from the entries alone.
	var stored storage
	for n := int64(0); n*width < tree.N; n++ {
		entries, err := readBundle(dir, n, tree.N)
		if err != nil {
			return 0, err
		}
		for _, entry := range entries {
			hashes, err := tlog.StoredHashes(stored.records, entry, &stored)
			if err != nil {
				return 0, err
			}
			stored.hashes = append(stored.hashes, hashes...)
			stored.records++
		}
	}
	root, err := tlog.TreeHash(tree.N, &stored)
	if err != nil {
		return 0, err
	}
	if root != tree.Hash {
		return 0, errors.New("the entries do not give the checkpoint's root")
	}

	// (2) Every hash tile against it.
	for _, tile := range hashTiles(tree.N) {
		served, err := os.ReadFile(filepath.Join(dir, path(tile)))
		if err != nil {
			return 0, err
		}
		want, err := tlog.ReadTileData(tile, &stored)
		if err != nil {
			return 0, err
		}
		if !bytes.Equal(served, want) {
			return 0, fmt.Errorf("%s is not what its entries hash to", path(tile))
		}
	}

	// (3) Proofs from the tiles, which the reader authenticates by the root on its own.
	reader := tlog.TileHashReader(tree, tiles(dir))
	for _, n := range []int64{0, tree.N / 3, tree.N - 1} {
		if n < 0 || n >= tree.N {
			continue
		}
		record, err := tlog.ProveRecord(tree.N, n, reader)
		if err != nil {
			return 0, err
		}
		hashes, err := stored.ReadHashes([]int64{tlog.StoredHashIndex(0, n)})
		if err != nil {
			return 0, err
		}
		if err := tlog.CheckRecord(record, tree.N, tree.Hash, n, hashes[0]); err != nil {
			return 0, err
		}
		older, err := tlog.TreeHash(n+1, reader)
		if err != nil {
			return 0, err
		}
		grown, err := tlog.ProveTree(tree.N, n+1, reader)
		if err != nil {
			return 0, err
		}
		if err := tlog.CheckTree(grown, tree.N, tree.Hash, n+1, older); err != nil {
			return 0, err
		}
	}
	if proof != "" {
		if err := checkProof(proof, verifiers, &stored); err != nil {
			return 0, err
		}
	}
	return tree.N, nil
}

// openCheckpoint verifies all verifiers' signatures on a note, then reads it.
func openCheckpoint(data []byte, verifiers []note.Verifier) (tlog.Tree, error) {
	opened, err := note.Open(data, note.VerifierList(verifiers...))
	if err != nil {
		return tlog.Tree{}, err
	}
	if len(opened.Sigs) != len(verifiers) {
		return tlog.Tree{}, fmt.Errorf("%d of %d keys signed the checkpoint", len(opened.Sigs), len(verifiers))
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[0] != verifiers[0].Name() {
		return tlog.Tree{}, errors.New("the note is no checkpoint of this log")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	hash, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: hash}, err
}

// checkProof checks a c2sp.org/tlog-proof@v1 file, whose entry is taken from the log.
func checkProof(file string, verifiers []note.Verifier, stored *storage) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	parts := strings.SplitN(string(data), "\n\n", 2)
	head := strings.Split(parts[0], "\n")
	if len(parts) != 2 || head[0] != "c2sp.org/tlog-proof@v1" || len(head) < 2 {
		return errors.New("not a tlog-proof file")
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(head[1], "index "), 10, 64)
	if err != nil {
		return err
	}
	var record tlog.RecordProof
	for _, line := range head[2:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return err
		}
		record = append(record, hash)
	}
	tree, err := openCheckpoint([]byte(parts[1]), verifiers)
	if err != nil {
		return err
	}
	if index >= stored.records {
		return errors.New("the proof is of an entry that the log does not have")
	}
	hashes, err := stored.ReadHashes([]int64{tlog.StoredHashIndex(0, index)})
	if err != nil {
		return err
	}
	return tlog.CheckRecord(record, tree.N, tree.Hash, index, hashes[0])
}

// readBundle reads the entries below tile n of level 0: each behind its length as two bytes.
func readBundle(dir string, n, size int64) ([][]byte, error) {
	tile := tlog.Tile{H: height, L: 0, N: n, W: width}
	if left := size - n*width; left < width {
		tile.W = int(left)
	}
	name := strings.Replace(path(tile), "tile/0/", "tile/entries/", 1)
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	var entries [][]byte
	for len(data) > 0 {
		if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
			return nil, fmt.Errorf("%s ends inside an entry", name)
		}
		end := 2 + int(binary.BigEndian.Uint16(data))
		entries, data = append(entries, data[2:end]), data[end:]
	}
	if len(entries) != tile.W {
		return nil, fmt.Errorf("%s has %d entries, not %d", name, len(entries), tile.W)
	}
	return entries, nil
}

// hashTiles lists the tiles of a tree: sumdb's NewTiles names every width that the last one of a level ever had.
func hashTiles(size int64) []tlog.Tile {
	var all []tlog.Tile
	for level := 0; size > 0; level, size = level+1, size/width {
		for n := int64(0); n*width < size; n++ {
			tile := tlog.Tile{H: height, L: level, N: n, W: width}
			if left := size - n*width; left < width {
				tile.W = int(left)
			}
			all = append(all, tile)
		}
	}
	return all
}

// path is a tile's path below the log's prefix: sumdb's without the height.
func path(tile tlog.Tile) string {
	return "tile/" + strings.TrimPrefix(tile.Path(), fmt.Sprintf("tile/%d/", height))
}

// storage holds all hashes of a tree in sumdb's order.
type storage struct {
	records int64
	hashes  []tlog.Hash
}

func (s *storage) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	read := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		if index >= int64(len(s.hashes)) {
			return nil, fmt.Errorf("no hash %d", index)
		}
		read[i] = s.hashes[index]
	}
	return read, nil
}

// tiles reads the tiles of a folder for sumdb.
type tiles string

func (t tiles) Height() int                         { return height }
func (t tiles) SaveTiles(_ []tlog.Tile, _ [][]byte) {}
func (t tiles) ReadTiles(asked []tlog.Tile) ([][]byte, error) {
	var read [][]byte
	for _, tile := range asked {
		data, err := os.ReadFile(filepath.Join(string(t), path(tile)))
		if err != nil {
			return nil, err
		}
		read = append(read, data)
	}
	return read, nil
}

func parseKeys(log string, witnesses []string) ([]note.Verifier, error) {
	key, err := note.NewVerifier(log)
	if err != nil {
		return nil, err
	}
	keys := []note.Verifier{key}
	for _, text := range witnesses {
		witness, err := parseWitness(text)
		if err != nil {
			return nil, err
		}
		keys = append(keys, witness)
	}
	return keys, nil
}

// cosigner verifies cosignature/v1 lines (c2sp.org/tlog-cosignature), which sumdb does not know.
type cosigner struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func parseWitness(text string) (note.Verifier, error) {
	parts := strings.SplitN(text, "+", 3)
	if len(parts) != 3 {
		return nil, errors.New("a witness's key has the form name+id+key")
	}
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil {
		return nil, err
	}
	if len(key) != 33 || key[0] != 4 {
		return nil, errors.New("a witness's key is of type 04")
	}
	sum := sha256.Sum256(append([]byte(parts[0]+"\n"), key...))
	if fmt.Sprintf("%x", sum[:4]) != parts[1] {
		return nil, errors.New("a witness's key has another id")
	}
	return &cosigner{parts[0], binary.BigEndian.Uint32(sum[:4]), key[1:]}, nil
}

func (c *cosigner) Name() string    { return c.name }
func (c *cosigner) KeyHash() uint32 { return c.hash }
func (c *cosigner) Verify(msg, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	time := binary.BigEndian.Uint64(sig)
	signed := fmt.Sprintf("cosignature/v1\ntime %d\n%s", time, msg)
	return ed25519.Verify(c.key, []byte(signed), sig[8:])
}

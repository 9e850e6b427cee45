//! Writes what a target begins with into `corpus/TARGET`: the recorded files and outputs of `tests/vectors`, and the
//! modules' own examples, each with a last byte that says what the target does with it.

use std::error::Error;
use std::path::{Path, PathBuf};

use og_common::protocol::Module;
use serde_json::Value;

const MARK: &[u8] = b"\n====\n";

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result {
    let target = std::env::args().nth(1).ok_or("seeds TARGET")?;
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let seeds = Vectors(here.join("../tests/vectors")).seeds(&target)?;
    let corpus = here.join("corpus").join(&target);
    std::fs::create_dir_all(&corpus)?;
    for (number, (bytes, modes)) in seeds.iter().enumerate() {
        // What makes an input long is slow: a few of these do.
        for mode in modes.iter().filter(|mode| **mode < 248 || number.is_multiple_of(16)) {
            std::fs::write(corpus.join(format!("seed{number}-{mode}")), [&bytes[..], &[*mode]].concat())?;
        }
    }
    println!("{} seeds in {}", seeds.len(), corpus.display());
    Ok(())
}

/// Bytes, and the last bytes they are tried with.
type Seed = (Vec<u8>, &'static [u8]);

struct Vectors(PathBuf);

impl Vectors {
    fn seeds(&self, target: &str) -> Result<Vec<Seed>> {
        let with =
            |seeds: Vec<Vec<u8>>, modes: &'static [u8]| seeds.into_iter().map(|s| (s, modes)).collect();
        Ok(match target {
            "static_config" => {
                let files =
                    self.files(|name| name.starts_with("cluster_static_config") || name.ends_with(".bin"))?;
                with(files, &[0, 1, 2, 3])
            }
            "dynamic_config" => {
                let mut seeds =
                    with(self.files(|name| name.starts_with("cluster_dynamic_config"))?, &[0, 1, 2]);
                seeds.push((b"node1=0\nnode2=1\nnode3=9\n".to_vec(), &[3]));
                seeds
            }
            "cluster_xml" => with(self.files(|name| name == "cluster_config.xml")?, &[0, 1, 2, 3]),
            "hba" => self.hba()?,
            "conf" => self.conf()?,
            "replconninfo" => self.replconninfo()?,
            "standby_names" => self.standby_names()?,
            "gs_ctl" => {
                let mut seeds = self.strings("gs_ctl/query.json", "stdout")?;
                seeds.extend(self.strings("gs_ctl/querybuild.json", "stdout")?);
                with(seeds, &[0])
            }
            "gaussdb_state" => {
                let hex = self.strings("gaussdb_state.json", "hex")?;
                hex.into_iter().map(|h| Ok((bytes_of(&h)?, &[0][..]))).collect::<Result<_>>()?
            }
            "postmaster_pid" => [
                "4711\n/gauss/data/dn1\n1763687700\n26000\n/tmp\n192.168.0.11\n  26000001         0\n",
                "-12\n/d\n1\n5432\n\n\n",
                "4711\n/gauss/data/dn1\n1763687700\n",
            ]
            .map(|text| (text.as_bytes().to_vec(), &b"\n"[..]))
            .to_vec(),
            "arguments" => {
                let mut seeds = examples::<og_hba::Hba>(&[0, 248]);
                seeds.extend(examples::<og_replconninfo::ReplConnInfo>(&[2, 250]));
                seeds.extend(examples::<og_guc::Guc>(&[4, 252]));
                seeds.extend(examples::<og_static_conf::StaticConf>(&[6]));
                seeds.extend(examples::<og_node_state::NodeStateModule>(&[7]));
                seeds
            }
            other => return Err(format!("no seeds are known for {other}").into()),
        })
    }

    fn hba(&self) -> Result<Vec<Seed>> {
        let mut files = self.strings("hba/verdicts.json", "text")?;
        files.extend(self.strings("hba/odd.json", "text")?);
        let recorded = std::fs::read_to_string(self.0.join("gs_guc-hba-vectors.txt"))?;
        files.extend(recorded.split("\n=== ").map(|part| part.as_bytes().to_vec()));
        let rules = "host all omm 192.168.0.12/32 trust\nlocal all all trust # x\nhost a,b \"c d\",+g 10.0.0.0 255.0.0.0 md5";
        let mut seeds: Vec<Seed> = Vec::new();
        for file in files {
            seeds.push(([&file, MARK, rules.as_bytes()].concat(), &[96, 98, 99, 102]));
            seeds.push(([&file, MARK, &file].concat(), &[97, 98, 101, 254]));
            seeds.push((file, &[0, 32, 255]));
        }
        Ok(seeds)
    }

    fn conf(&self) -> Result<Vec<Seed>> {
        let mut files = self.strings("conf/reload-syntax.json", "added")?;
        let own = std::fs::read(self.0.join("conf/initdb-postgresql.conf"))?;
        files.extend(own.chunks(1500).map(<[u8]>::to_vec));
        let mut seeds: Vec<Seed> = Vec::new();
        for file in files {
            for wish in ["work_mem=64MB", "port=26000", "log_line_prefix=it's \\ %m", "#"] {
                seeds.push(([&file, MARK, wish.as_bytes()].concat(), &[64, 67, 254]));
            }
            seeds.push(([&file, MARK, b"ANY 1(a,b)"].concat(), &[161]));
            for example in og_guc::Guc::EXAMPLES {
                seeds.push(([&file, MARK, example.args.as_bytes()].concat(), &[160]));
            }
            seeds.push((file, &[0, 255]));
        }
        Ok(seeds)
    }

    fn replconninfo(&self) -> Result<Vec<Seed>> {
        let mut seeds: Vec<Seed> = Vec::new();
        for line in self.strings("conf/reload-replconninfo.json", "added")? {
            for example in og_replconninfo::ReplConnInfo::EXAMPLES {
                seeds.push(([&line, MARK, example.args.as_bytes()].concat(), &[128]));
            }
            let text = String::from_utf8(line)?;
            seeds.extend(text.split('\'').nth(1).map(|v| (v.as_bytes().to_vec(), &[0, 255][..])));
        }
        Ok(seeds)
    }

    fn standby_names(&self) -> Result<Vec<Seed>> {
        let mut values: Vec<String> = Vec::new();
        for line in self.strings("conf/reload-standby-names.json", "added")? {
            values.extend(String::from_utf8(line)?.split('\'').nth(1).map(str::to_owned));
        }
        values
            .extend(["", "*", "a,b", "2(a,b,c)", "FIRST 2(a,\"b c\",c)", "any 2 (a , b)"].map(str::to_owned));
        let mut seeds: Vec<Seed> = Vec::new();
        for value in values {
            seeds.push((
                [value.as_bytes(), MARK, b"dn_6002,dn_6004\ndn_6003,a"].concat(),
                &[64, 65, 68, 80, 254],
            ));
            seeds.push((value.into_bytes(), &[0, 255]));
        }
        Ok(seeds)
    }

    /// The files whose name is as wanted, small enough for a fuzzer.
    fn files(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<Vec<u8>>> {
        let mut found = Vec::new();
        let mut folders = vec![self.0.join("cluster")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path());
                } else if wanted(&entry.file_name().to_string_lossy()) && entry.metadata()?.len() < 80 * 1024
                {
                    found.push(entry.path());
                }
            }
        }
        found.sort();
        found.iter().map(|path| Ok(std::fs::read(path)?)).collect()
    }

    /// Of each record of a JSON file, a list or an object of them, this text.
    fn strings(&self, file: &str, key: &str) -> Result<Vec<Vec<u8>>> {
        let value: Value = serde_json::from_slice(&std::fs::read(self.0.join(file))?)?;
        let records: Vec<&Value> = match &value {
            Value::Array(list) => list.iter().collect(),
            Value::Object(map) => map.values().collect(),
            _ => return Err(format!("{file} has no records").into()),
        };
        let texts: Vec<_> =
            records.iter().filter_map(|r| r[key].as_str()).map(|t| t.as_bytes().to_vec()).collect();
        if texts.is_empty() { Err(format!("{file} has no {key}").into()) } else { Ok(texts) }
    }
}

fn examples<M: Module>(modes: &'static [u8]) -> Vec<Seed> {
    M::EXAMPLES.iter().map(|e| (e.args.as_bytes().to_vec(), modes)).collect()
}

fn bytes_of(hex: &[u8]) -> Result<Vec<u8>> {
    let pairs = hex.chunks_exact(2).map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?));
    pairs.collect()
}

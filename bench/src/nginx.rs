//! nginx as a reverse proxy in front of the hyper peer, which is a common deployment.

use std::path::Path;

use nix::unistd::geteuid;

use crate::group::{Group, tied};
use crate::machine;
use crate::peer::{self, At};
use crate::scratch::Scratch;
use crate::server::{Server, free_port};

/// Returns the version, such as `1.22.1`.
pub(crate) async fn version(program: &Path) -> String {
    let line = machine::first_line(program, &["-v"]).await;
    let line = line.unwrap_or_default();
    line.rsplit('/').next().unwrap_or_default().to_owned()
}

pub(crate) async fn start(program: &Path) -> anyhow::Result<Server> {
    let scratch = Scratch::new()?;
    let behind = scratch.join("hyper.sock");
    let address = free_port()?;
    let config = config(&address.to_string(), &scratch, &behind, geteuid().is_root());
    let config = scratch.write("nginx.conf", &config)?;
    let peer = peer::start_at(&At::Unix(behind), &scratch)?;
    let mut command = tied(program)?;
    // Without -e, nginx opens its compiled-in log file before it reads the configuration.
    command
        .arg("-p")
        .arg(scratch.path())
        .arg("-c")
        .arg(config)
        .args(["-e", "stderr"]);
    let nginx = Group::start("nginx", &mut command, &scratch)?;
    let mut server = Server::of(address, vec![nginx, peer], scratch).await?;
    // The processes are in this order: nginx's master, its one worker, the peer.
    for (process, role) in server
        .processes
        .iter_mut()
        .zip(["master", "worker", "hyper"])
    {
        process.role = role.to_owned();
    }
    Ok(server)
}

fn config(listen: &str, scratch: &Scratch, behind: &Path, as_root: bool) -> String {
    // Otherwise nginx's worker would run as `nobody`, who may not connect to the socket.
    let user = if as_root { "user root;\n" } else { "" };
    let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|what| format!("    {what}_temp_path {};\n", scratch.join(what).display()))
        .collect();
    // By default (`keepalive_requests`), nginx closes each connection after 1000 requests. The new connections would
    // be a cost that the other servers do not have.
    format!(
        "{user}daemon off;
worker_processes 1;
error_log stderr warn;
pid {pid};
events {{ worker_connections 1024; }}
http {{
{paths}    access_log off;
    keepalive_requests 1000000000;
    upstream behind {{
        server unix:{behind};
        keepalive 64;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {listen};
        location / {{
            proxy_pass http://behind;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
        }}
    }}
}}
",
        pid = scratch.join("nginx.pid").display(),
        behind = behind.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_keeps_to_its_directory_and_names_both_ends() {
        let scratch = Scratch::new().unwrap();
        let behind = scratch.join("x.sock");
        let text = config("127.0.0.1:81", &scratch, &behind, false);
        assert!(text.contains("listen 127.0.0.1:81;"));
        assert!(text.contains(&format!("server unix:{};", behind.display())));
        let inside = scratch.path().display().to_string();
        let places = text
            .lines()
            .filter(|line| line.contains("_path ") || line.starts_with("pid"));
        assert!(places.clone().count() == 6);
        assert!(places.into_iter().all(|line| line.contains(&inside)));
        assert!(!text.contains("user root"));
        assert!(config("", &scratch, &behind, true).starts_with("user root;"));
    }
}

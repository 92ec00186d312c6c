//! What an attack on the store in a cluster tried, as the right answer.

use crate::support::{
    hang_ups::{Dropped, everybody_gets_their_own},
    redis_cluster::{Cluster, order},
    stores::{NOW, create, ended, key, lives, of},
};
use dewar::store::SessionAdmin;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server; cargo xtask live"]
async fn whoever_hangs_up_leaves_no_answer_to_another() {
    everybody_gets_their_own(Cluster::start().open(), Dropped::MayBeDoneLate).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_strange_key_between_ours_keeps_nobody_logged_in_and_stops_no_list() {
    for strange in ["LPUSH NAME x", "SET NAME hello"] {
        let cluster = Cluster::start();
        let store = cluster.open();
        for number in 0..30 {
            create(&store, number, &of("bob", number + 1)).await;
        }
        let name = "dewar:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        order(&mut cluster.connection_of(name), &strange.replace("NAME", name));
        assert_eq!(store.count(NOW).await.unwrap(), 30, "{strange}");
        assert_eq!(store.list(None, None, 100, NOW).await.unwrap().len(), 30, "{strange}");
        assert!(store.revoke_everyone(ended(1), NOW).await.unwrap() >= 30, "{strange}");
        for number in 0..30 {
            assert!(!lives(&store, &key(number), NOW).await, "{strange}: {number}");
        }
    }
}

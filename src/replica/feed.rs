//! The merged rings of a worker as its deliveries: where Multi-Ring Paxos meets the models.

use super::{Deliveries, Delivery};
use crate::mem::Pool;
use crate::multi_ring::Feed;

impl<P: Pool> Deliveries for Feed<'_, P> {
    #[inline]
    fn advance(&mut self) -> Option<Delivery> {
        let delivered = Feed::advance(self)?;
        Some(Delivery { ring: delivered.ring, slot: delivered.slot })
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        Feed::bytes(self)
    }
}

//! Schemas by id, bounded in number and bytes. Ids never change their meaning, so nothing in it can be out of date; when
//! it is full, what came first goes first.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::{Schema, SchemaId};

const MOST: usize = 1000;
const MOST_BYTES: usize = 64 << 20;

#[derive(Debug, Default)]
pub struct Cache {
    schemas: HashMap<SchemaId, Arc<Schema>>,
    /// The ids as they came.
    order: VecDeque<SchemaId>,
    bytes: usize,
}

impl Cache {
    pub fn get(&self, id: SchemaId) -> Option<Arc<Schema>> {
        self.schemas.get(&id).cloned()
    }

    /// Keeps a schema, and gives it back even if it is too large to be kept.
    pub fn insert(&mut self, id: SchemaId, schema: Schema) -> Arc<Schema> {
        let schema = Arc::new(schema);
        if let Some(before) = self.schemas.insert(id, schema.clone()) {
            self.bytes = self.bytes.saturating_sub(before.size());
        } else {
            self.order.push_back(id);
        }
        self.bytes += schema.size();
        while self.schemas.len() > MOST || self.bytes > MOST_BYTES {
            let Some(first) = self.order.pop_front() else { break };
            if let Some(gone) = self.schemas.remove(&first) {
                self.bytes = self.bytes.saturating_sub(gone.size());
            }
        }
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(size: usize) -> Schema {
        Schema { language: None, text: "x".repeat(size), references: Vec::new() }
    }

    #[test]
    fn what_came_first_goes_first_when_there_are_too_many() {
        let mut cache = Cache::default();
        for id in 0..=MOST {
            cache.insert(SchemaId::Confluent(u32::try_from(id).unwrap()), schema(1));
        }
        assert!(cache.get(SchemaId::Confluent(0)).is_none());
        assert!(cache.get(SchemaId::Confluent(1)).is_some());
        assert_eq!((cache.schemas.len(), cache.order.len(), cache.bytes), (MOST, MOST, MOST));
    }

    #[test]
    fn large_schemas_push_others_out_by_their_bytes() {
        let mut cache = Cache::default();
        cache.insert(SchemaId::Confluent(1), schema(MOST_BYTES / 2));
        cache.insert(SchemaId::ApicurioGlobal(1), schema(MOST_BYTES / 2));
        assert!(cache.get(SchemaId::Confluent(1)).is_some());
        cache.insert(SchemaId::ApicurioContent(1), schema(1));
        assert!(cache.get(SchemaId::Confluent(1)).is_none());
        assert!(cache.get(SchemaId::ApicurioGlobal(1)).is_some());
    }
}

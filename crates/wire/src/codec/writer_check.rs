//! Whether records written with a foreign schema can be read at all, judged once per schema.
//!
//! The id in a value selects any schema of the registry, and the generic reader follows it blindly.
//! So schemas that would let a few bytes cost much memory, time or stack are refused here.

use std::collections::HashMap;

use apache_avro::Schema;
use apache_avro::schema::{
    DecimalSchema, FixedSchema, InnerDecimalSchema, Name, RecordSchema, UuidSchema,
};
use apache_avro::schema_compatibility::SchemaCompatibility;

use super::error::{DecodeError, cause};
use super::{ALLOCATION_MAX, AvroRecord};
use crate::record::NAMESPACE;

/// Deepest nesting of types, each costing a stack frame of the generic reader.
const DEPTH_MAX: usize = 32;

/// Accepts `writer` if it is the record of `reader`, harmless, and resolvable into it.
pub(super) fn check<R: AvroRecord>(writer: &Schema) -> Result<(), DecodeError> {
    let Schema::Record(record) = writer else {
        return Err(DecodeError::wrong_record(R::NAME, "another type than a record"));
    };
    if record.name.name() != R::NAME || record.name.namespace() != Some(NAMESPACE) {
        return Err(DecodeError::wrong_record(R::NAME, &record.name.fullname(None)));
    }
    let mut walk = Walk { depths: HashMap::new() };
    walk.depth(writer, None).map_err(|why| {
        DecodeError::Undecodable(format!("the writer's schema cannot be used: {why}"))
    })?;
    SchemaCompatibility::can_read(writer, R::schema()).map(|_| ()).map_err(|error| {
        let why = cause(&error);
        DecodeError::Undecodable(format!("the writer's schema is not compatible: {why}"))
    })
}

/// Depth of each named type whose definition is complete.
struct Walk {
    depths: HashMap<String, usize>,
}

impl Walk {
    /// Levels of nesting below and with `schema`. The recursion is bounded: a schema is parsed from
    /// JSON of limited depth, and references are not followed but looked up.
    fn depth(&mut self, schema: &Schema, namespace: Option<&str>) -> Result<usize, String> {
        let depth = match schema {
            Schema::Null => return Err("null outside a union takes no bytes".to_owned()),
            Schema::Array(array) => 1 + self.depth(&array.items, namespace)?,
            Schema::Map(map) => 1 + self.depth(&map.types, namespace)?,
            Schema::Union(union) => {
                let mut deepest = 0;
                for variant in union.variants().iter().filter(|v| !matches!(v, Schema::Null)) {
                    deepest = deepest.max(self.depth(variant, namespace)?);
                }
                1 + deepest
            }
            Schema::Record(record) => self.record_depth(record, namespace)?,
            Schema::Enum(symbols) => self.complete(&symbols.name, namespace, 1),
            // A type is complete before it can be referred to, unless it refers to itself.
            Schema::Ref { name } => {
                let name = name.fully_qualified_name(namespace).to_string();
                match self.depths.get(&name) {
                    Some(depth) => *depth,
                    None => return Err(format!("type {name} contains itself")),
                }
            }
            _ => match fixed_of(schema) {
                Some(fixed) if fixed.size == 0 || fixed.size > ALLOCATION_MAX => {
                    return Err(format!("fixed {} has {} bytes", fixed.name, fixed.size));
                }
                Some(fixed) => self.complete(&fixed.name, namespace, 1),
                None => 1,
            },
        };
        if depth > DEPTH_MAX {
            return Err(format!("its types are nested deeper than {DEPTH_MAX} levels"));
        }
        Ok(depth)
    }

    fn record_depth(
        &mut self,
        record: &RecordSchema,
        namespace: Option<&str>,
    ) -> Result<usize, String> {
        let name = record.name.fully_qualified_name(namespace).into_owned();
        if record.fields.is_empty() {
            return Err(format!("record {name} has no fields and takes no bytes"));
        }
        let mut deepest = 0;
        for field in &record.fields {
            deepest = deepest.max(self.depth(&field.schema, name.namespace())?);
        }
        Ok(self.complete(&name, None, 1 + deepest))
    }

    fn complete(&mut self, name: &Name, namespace: Option<&str>, depth: usize) -> usize {
        self.depths.insert(name.fully_qualified_name(namespace).to_string(), depth);
        depth
    }
}

/// The named type of fixed size behind `schema`, logical types included.
fn fixed_of(schema: &Schema) -> Option<&FixedSchema> {
    match schema {
        Schema::Fixed(fixed) | Schema::Duration(fixed) => Some(fixed),
        Schema::Uuid(UuidSchema::Fixed(fixed)) => Some(fixed),
        Schema::Decimal(DecimalSchema { inner: InnerDecimalSchema::Fixed(fixed), .. }) => {
            Some(fixed)
        }
        _ => None,
    }
}

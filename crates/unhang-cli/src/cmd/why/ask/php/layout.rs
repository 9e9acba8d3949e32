//! What each version of PHP looks like in memory. Named as in php-src's Zend/, main/ and TSRM/; the
//! offsets are those of an x86-64 build that is not for debugging.

use super::super::memory::{Address, Memory};

/// What minor versions change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Layout {
    /// In `zend_executor_globals` (`zend_globals.h`).
    pub(super) current_execute_data: u64,
    // In `zend_op_array` (`zend_compile.h`).
    pub(super) last_var: u64,
    pub(super) last: u64,
    pub(super) opcodes: u64,
    pub(super) vars: u64,
    pub(super) filename: u64,
}

const PHP_8_1: Layout = Layout {
    current_execute_data: 488,
    last_var: 60,
    last: 68,
    opcodes: 72,
    vars: 104,
    filename: 144,
};
const PHP_8_4: Layout =
    Layout { last_var: 92, last: 96, opcodes: 104, vars: 128, filename: 168, ..PHP_8_1 };
const PHP_8_5: Layout = Layout { current_execute_data: 512, ..PHP_8_4 };

/// `ZEND_MODULE_API_NO` (`zend_modules.h`), one for each minor version, and its layout. All are checked against
/// their headers and by the tests, 8.6 in its third candidate.
const LAYOUTS: &[(u32, Layout)] = &[
    // 8.1
    (20_210_902, PHP_8_1),
    // 8.2
    (
        20_220_829,
        Layout { last_var: 76, last: 80, opcodes: 88, vars: 112, filename: 152, ..PHP_8_1 },
    ),
    // 8.3
    (
        20_230_831,
        Layout { last_var: 72, last: 76, opcodes: 80, vars: 104, filename: 144, ..PHP_8_1 },
    ),
    // 8.4
    (20_240_924, PHP_8_4),
    // 8.5
    (20_250_925, PHP_8_5),
    // 8.6
    (20_260_924, PHP_8_5),
];

// The rest is the same from 8.1 to 8.6.

/// `zend_execute_data` (`zend_compile.h`).
pub(super) mod execute_data {
    pub(in super::super) const OPLINE: u64 = 0;
    pub(in super::super) const FUNC: u64 = 24;
    pub(in super::super) const PREV: u64 = 48;
    /// `ZEND_CALL_FRAME_SLOT`: behind the structure follow the function's variables.
    pub(in super::super) const VARIABLES: u64 = 80;
}

/// `zend_op` (`zend_compile.h`).
pub(super) mod op {
    pub(in super::super) const LINENO: u64 = 24;
    pub(in super::super) const SIZE: u64 = 32;
}

/// What all kinds of `zend_function` (`zend_compile.h`) begin with.
pub(super) mod function {
    pub(in super::super) const TYPE: u64 = 0;
    pub(in super::super) const NAME: u64 = 8;
    pub(in super::super) const SCOPE: u64 = 16;
    /// `ZEND_INTERNAL_FUNCTION`, `ZEND_USER_FUNCTION`, `ZEND_EVAL_CODE`.
    pub(in super::super) const INTERNAL: u8 = 1;
    pub(in super::super) const USER: u8 = 2;
    pub(in super::super) const EVAL: u8 = 4;
}

/// `zend_class_entry` (`zend.h`).
pub(super) const CLASS_NAME: u64 = 8;

/// `zval` and what it refers to (`zend_types.h`).
pub(super) mod value {
    pub(in super::super) const SIZE: u64 = 16;
    pub(in super::super) const TYPE: u64 = 8;
    /// `IS_STRING`, `IS_REFERENCE`.
    pub(in super::super) const STRING: u8 = 6;
    pub(in super::super) const REFERENCE: u8 = 10;
    /// In a `zend_reference`.
    pub(in super::super) const REFERRED: u64 = 8;
}

/// `zend_string` (`zend_types.h`).
pub(super) mod string {
    /// The low four bits of `gc.u.type_info` are the type.
    pub(in super::super) const TYPE: u64 = 4;
    pub(in super::super) const LENGTH: u64 = 16;
    pub(in super::super) const BYTES: u64 = 24;
}

/// `sapi_globals_struct`, whose `request_info` begins behind a pointer (main/SAPI.h).
pub(super) mod request {
    pub(in super::super) const METHOD: u64 = 8;
    pub(in super::super) const URI: u64 = 48;
}

/// `module_registry`, a `HashTable` (`zend_types.h`) of `zend_module_entry` (`zend_modules.h`).
mod module {
    /// In the table: its `Bucket`s, which begin with the pointer to the entry, and their number.
    pub(super) const BUCKETS: u64 = 16;
    pub(super) const USED: u64 = 24;
    /// In the entry.
    pub(super) const SIZE: u64 = 0;
    pub(super) const API: u64 = 4;
    pub(super) const DEBUG: u64 = 8;
    pub(super) const NAME: u64 = 32;
    pub(super) const VERSION: u64 = 88;
    /// `sizeof(zend_module_entry)`, which the entry itself tells.
    pub(super) const EXPECTED_SIZE: u32 = 168;
}

impl Layout {
    /// The first module that is registered is always PHP's core, which tells the version of both.
    pub(super) fn find(memory: &Memory, registry: Address) -> Result<Self, String> {
        if memory.u32(registry + module::USED)? == 0 {
            return Err("PHP has not started yet".to_owned());
        }
        let core = memory.follow(memory.follow(registry + module::BUCKETS)?)?;
        let size = memory.u32(core + module::SIZE)? & 0xffff;
        let name = memory.follow_text(core + module::NAME)?;
        if size != module::EXPECTED_SIZE || name != "Core" {
            return Err("it does not tell PHP's version in a known way".to_owned());
        }
        let version = memory.follow_text(core + module::VERSION)?;
        if memory.u8(core + module::DEBUG)? != 0 {
            return Err(format!(
                "the layout of PHP {version} built for debugging is not known to this version"
            ));
        }
        let api = memory.u32(core + module::API)?;
        let layout = LAYOUTS.iter().find(|(known, _)| *known == api);
        let layout = layout.ok_or_else(|| {
            let minor = version.rsplit_once('.').map_or(&*version, |(minor, _)| minor);
            format!("PHP {minor}'s layout is not known to this version")
        })?;
        Ok(layout.1)
    }
}

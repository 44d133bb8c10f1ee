//! What is odd about device scopes once the functions of the host are known.

use ringfence_addr::PciAddress;

use crate::dmar::{Scope, ScopeKind};
use crate::finding::Finding;
use crate::linux::PciFunctions;
use crate::wire::placed;
use crate::{Buses, Content, Table, codes};

/// Findings that take the functions of the host: scopes that name none, or one of another type.
pub fn findings_on_host(table: &Table, functions: &PciFunctions) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Content::Dmar(dmar) = &table.content else { return findings };
    for (at, structure) in dmar.placed() {
        let Some((segment, scopes, before)) = structure.scopes() else { continue };
        for (at, scope) in placed(&scopes.list, at + before) {
            if !matches!(scope.kind, ScopeKind::Endpoint | ScopeKind::Bridge) {
                continue;
            }
            let Some(path) = scope.path(segment) else { continue };
            let end = path.resolve(functions).filter(|it| functions.by_address.contains_key(it));
            match end {
                None => findings.push(Finding::new(&codes::SCOPE_NO_DEVICE, at, path.to_string())),
                Some(end) if !fits(scope, end, functions) => {
                    let detail = format!("{end}, by a scope of type {}", scope.kind.number());
                    findings.push(Finding::new(&codes::SCOPE_KIND, at, detail));
                }
                Some(_) => {}
            }
        }
    }
    findings
}

/// Non-transparent bridges have an ordinary header, and are named by scopes of either type.
fn fits(scope: &Scope, end: PciAddress, functions: &PciFunctions) -> bool {
    let Some(function) = functions.by_address.get(&end) else { return true };
    match scope.kind {
        ScopeKind::Endpoint => !function.is_bridge && functions.behind(end).is_none(),
        _ => function.is_bridge || function.class.is_none_or(|class| class >> 16 == 6),
    }
}

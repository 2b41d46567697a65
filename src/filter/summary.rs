//! Evaluation of a filter over what the index says of a block: whether any of its records may pass.

use crate::Timestamp;
use crate::filter::expr::{Expr, Field, Span, Test, TimeField};
use crate::format::index::Index;

/// What is known of the records of a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Summary<'a> {
    /// Bit l: level l occurs, 0 for none; the others do not.
    pub(crate) levels: u8,
    /// Names of services, some of which occur.
    pub(crate) services: &'a [Box<str>],
    /// Bit i: the i-th of them occurs; the others do not.
    pub(crate) service_bits: u64,
    /// Services occur that have no name here. Whether there are records without a service is not known.
    pub(crate) other_services: bool,
    /// The ingest times lie between these.
    pub(crate) ingest: Span,
    /// The event times lie between these; whether there are records without is not known.
    pub(crate) event: Span,
}

/// What a condition may come to over the records of a block. Both may be said too often, and never too seldom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outlook {
    /// It may hold of one.
    pub(super) holds: bool,
    /// It may fail of one.
    pub(super) fails: bool,
}

impl Expr {
    pub(super) fn outlook(&self, block: &Summary<'_>) -> Outlook {
        match self {
            Expr::And(all) => all.iter().map(|one| one.outlook(block)).fold(
                Outlook { holds: true, fails: false },
                |sum, one| Outlook { holds: sum.holds && one.holds, fails: sum.fails || one.fails },
            ),
            Expr::Or(any) => any.iter().map(|one| one.outlook(block)).fold(
                Outlook { holds: false, fails: true },
                |sum, one| Outlook { holds: sum.holds || one.holds, fails: sum.fails && one.fails },
            ),
            Expr::Not(inner) => {
                let Outlook { holds, fails } = inner.outlook(block);
                Outlook { holds: fails, fails: holds }
            }
            Expr::Level(levels) => {
                Outlook { holds: block.levels & levels != 0, fails: block.levels & !levels != 0 }
            }
            Expr::Time(TimeField::Ingest, spans) => over(spans, block.ingest),
            Expr::Time(TimeField::Event, spans) => Outlook { fails: true, ..over(spans, block.event) },
            Expr::Has(Field::Service) => {
                Outlook { holds: block.service_bits != 0 || block.other_services, fails: true }
            }
            Expr::Is(Field::Service, test) => Outlook { holds: block.any_service(test), fails: true },
            Expr::Has(Field::Body) => Outlook { holds: true, fails: false },
            Expr::Has(Field::Attribute(_)) | Expr::Is(..) => Outlook { holds: true, fails: true },
            Expr::Filter(filter) => filter.outlook(block),
        }
    }
}

/// What lying in one of `spans` comes to for times within `known`.
fn over(spans: &[Span], known: Span) -> Outlook {
    let touches = |span: &Span| span.first <= known.last && known.first <= span.last;
    let covers = |span: &Span| span.first <= known.first && known.last <= span.last;
    let is_empty = known.last < known.first;
    Outlook { holds: !is_empty && spans.iter().any(touches), fails: !is_empty && !spans.iter().any(covers) }
}

impl<'a> Summary<'a> {
    /// Of a block of `index`, by its number; `None` where not everything in it is known.
    pub(crate) fn of(index: &'a Index, number: usize) -> Option<Summary<'a>> {
        let block = &index.blocks[number];
        if block.damaged {
            return None;
        }
        // Ingest times never fall, and a block without records has the greatest.
        let next = index.blocks.get(number + 1).map(|next| next.ingest);
        let last_ingest = next.filter(|next| *next < Timestamp::MAX).unwrap_or(index.last_ingest);
        let is_empty = block.ingest == Timestamp::MAX;
        Some(Summary {
            levels: block.levels,
            services: &index.services,
            service_bits: block.services,
            other_services: block.any_service,
            ingest: Span { first: block.ingest, last: if is_empty { Timestamp::MIN } else { last_ingest } },
            event: Span { first: block.min_event, last: block.max_event },
        })
    }

    /// Whether a service occurs that passes, or one that nobody knows the name of.
    fn any_service(&self, test: &Test) -> bool {
        let occurs = |number: usize| self.service_bits >> number & 1 != 0;
        let mut named = self.services.iter().take(64).enumerate().filter(|(number, _)| occurs(*number));
        self.other_services || named.any(|(_, name)| test.passes(name.as_bytes()))
    }
}

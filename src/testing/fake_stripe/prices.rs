//! Products and prices.

use serde_json::{Value, json};

use super::failure::{Failure, Reply};
use super::lists::{PAGING, page};
use super::params::Params;
use super::state::{State, with_nulls};

const INTERVALS: [&str; 4] = ["day", "week", "month", "year"];

impl State {
    pub(super) fn create_product(&mut self, params: &Params) -> Reply {
        params.allow(&[
            "name",
            "id",
            "active",
            "description",
            "metadata.**",
            "unit_label",
            "url",
            "tax_code",
        ])?;
        params.required("name")?;
        let id = match params.some("id")? {
            Some(id) if self.any(id).is_some() => {
                return Err(Failure::invalid("Product already exists.")
                    .code("resource_already_exists")
                    .param("id"));
            }
            Some(id) => id.to_owned(),
            None => self.id("prod"),
        };
        let now = self.now(None);
        let mut product = with_nulls(
            json!({
                "id": id, "object": "product", "active": params.flag("active")?.unwrap_or(true), "created": now,
                "images": [], "livemode": false, "marketing_features": [], "metadata": {}, "type": "service",
                "updated": now,
            }),
            "default_price description package_dimensions shippable statement_descriptor tax_code tax_details \
             unit_label url",
        );
        params.write_texts(&mut product, &["name", "description", "unit_label", "url", "tax_code"])?;
        params.write_metadata(&mut product)?;
        self.insert(product);
        self.emit_of("product.created", "product", &id);
        self.reply("product", &id)
    }

    pub(super) fn update_product(&mut self, id: &str, params: &Params) -> Reply {
        params.allow(&[
            "name",
            "active",
            "description",
            "metadata",
            "metadata.**",
            "default_price",
            "url",
        ])?;
        let mut product = self.find("product", id, "id")?.clone();
        if let Some(price) = params.some("default_price")? {
            self.find("price", price, "default_price")?;
        }
        params.write_texts(&mut product, &["name", "description", "url", "default_price"])?;
        params.write_metadata(&mut product)?;
        if let Some(active) = params.flag("active")? {
            product["active"] = active.into();
        }
        product["updated"] = self.now(None).into();
        self.edit_and_emit("product.updated", "product", id, |one| *one = product);
        self.reply("product", id)
    }

    pub(super) fn list_products(&self, params: &Params) -> Reply {
        let patterns: Vec<&str> = PAGING.into_iter().chain(["active", "ids.#"]).collect();
        params.allow(&patterns)?;
        let (active, ids) = (params.flag("active")?, params.texts("ids"));
        page(self.all("product"), params, "/v1/products", |one| {
            active.is_none_or(|active| one["active"] == active)
                && (ids.is_empty() || ids.iter().any(|id| one["id"] == *id))
        })
    }

    pub(super) fn create_price(&mut self, params: &Params) -> Reply {
        params.allow(&[
            "currency",
            "unit_amount",
            "active",
            "lookup_key",
            "transfer_lookup_key",
            "metadata.**",
            "nickname",
            "product",
            "product_data.name",
            "product_data.metadata.**",
            "recurring.interval",
            "recurring.interval_count",
            "recurring.meter",
            "recurring.usage_type",
            "recurring.trial_period_days",
            "tax_behavior",
            "billing_scheme",
        ])?;
        let id = self.new_price(params)?;
        self.reply("price", &id)
    }

    /// Creates a price from `unit_amount`, `currency`, `recurring` and `product` or `product_data`.
    pub(super) fn new_price(&mut self, params: &Params) -> Result<String, Failure> {
        let currency = params.required("currency")?.to_lowercase();
        let amount = params.integer("unit_amount")?.ok_or_else(|| Failure::missing("unit_amount"))?;
        if amount < 0 {
            return Err(Failure::invalid("Invalid non-negative integer").param("unit_amount"));
        }
        let recurring = params.nested("recurring").map(|recurring| self.recurring(&recurring)).transpose()?;
        let lookup_key = self.lookup_key(params, None)?;
        let product = if let Some(name) = params.part("product_data").some("name")? {
            self.create_product(&Params::of(&[("name", name)]))?["id"].as_str().unwrap_or_default().to_owned()
        } else {
            let product = params.required("product")?;
            self.find("product", product, "product")?;
            product.to_owned()
        };
        let id = self.id("price");
        let mut price = with_nulls(
            json!({
                "id": id, "object": "price", "active": params.flag("active")?.unwrap_or(true),
                "billing_scheme": "per_unit", "created": self.now(None), "currency": currency, "livemode": false,
                "lookup_key": lookup_key, "metadata": {}, "product": product,
                "tax_behavior": "unspecified", "type": if recurring.is_some() { "recurring" } else { "one_time" },
                "recurring": recurring, "unit_amount": amount, "unit_amount_decimal": amount.to_string(),
            }),
            "custom_unit_amount nickname tiers_mode transform_quantity",
        );
        params.write_texts(&mut price, &["nickname", "tax_behavior"])?;
        params.write_metadata(&mut price)?;
        self.insert(price);
        self.emit_of("price.created", "price", &id);
        Ok(id)
    }

    pub(super) fn update_price(&mut self, id: &str, params: &Params) -> Reply {
        params.allow(&[
            "active",
            "lookup_key",
            "transfer_lookup_key",
            "metadata",
            "metadata.**",
            "nickname",
            "tax_behavior",
        ])?;
        let mut price = self.find("price", id, "id")?.clone();
        params.write_texts(&mut price, &["nickname", "tax_behavior"])?;
        params.write_metadata(&mut price)?;
        if let Some(active) = params.flag("active")? {
            price["active"] = active.into();
        }
        if params.has("lookup_key") {
            price["lookup_key"] = self.lookup_key(params, Some(id))?.into();
        }
        self.edit_and_emit("price.updated", "price", id, |one| *one = price);
        self.reply("price", id)
    }

    /// The lookup key of a price. With `transfer_lookup_key` another price loses it.
    fn lookup_key(&mut self, params: &Params, own: Option<&str>) -> Result<Option<String>, Failure> {
        let Some(key) = params.some("lookup_key")?.map(str::to_owned) else { return Ok(None) };
        let holders =
            self.ids("price", |price| price["lookup_key"] == key && own.is_none_or(|own| price["id"] != own));
        if !holders.is_empty() && params.flag("transfer_lookup_key")? != Some(true) {
            let message = format!(
                "A price (`{}`) already uses that lookup key. Set transfer_lookup_key to move it.",
                holders[0]
            );
            return Err(Failure::invalid(message).param("lookup_key"));
        }
        for holder in holders {
            self.edit_and_emit("price.updated", "price", &holder, |price| price["lookup_key"] = Value::Null);
        }
        Ok(Some(key))
    }

    fn recurring(&self, params: &Params) -> Result<Value, Failure> {
        let interval =
            params.one_of("interval", &INTERVALS)?.ok_or_else(|| Failure::missing("recurring[interval]"))?;
        let meter = params.some("meter")?;
        if let Some(meter) = meter {
            self.find("billing.meter", meter, "recurring[meter]")?;
        }
        let usage = params.one_of("usage_type", &["licensed", "metered"])?;
        Ok(json!({
            "interval": interval, "interval_count": params.integer("interval_count")?.unwrap_or(1), "meter": meter,
            "trial_period_days": params.integer("trial_period_days")?,
            "usage_type": usage.unwrap_or(if meter.is_some() { "metered" } else { "licensed" }),
        }))
    }

    pub(super) fn list_prices(&self, params: &Params) -> Reply {
        let more = ["active", "currency", "lookup_keys.#", "product", "type", "recurring.interval"];
        let patterns: Vec<&str> = PAGING.into_iter().chain(more).collect();
        params.allow(&patterns)?;
        let (active, keys, product) =
            (params.flag("active")?, params.texts("lookup_keys"), params.some("product")?);
        let (kind, currency) = (params.some("type")?, params.some("currency")?);
        page(self.all("price"), params, "/v1/prices", |one| {
            active.is_none_or(|active| one["active"] == active)
                && (keys.is_empty() || keys.iter().any(|key| one["lookup_key"] == *key))
                && product.is_none_or(|product| one["product"] == product)
                && kind.is_none_or(|kind| one["type"] == kind)
                && currency.is_none_or(|currency| one["currency"] == currency)
        })
    }
}
